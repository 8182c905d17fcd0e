//! cluster-worker
