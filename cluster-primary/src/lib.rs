//! cluster-primary
