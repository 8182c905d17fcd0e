//! cluster-proto
