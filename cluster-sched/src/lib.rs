//! cluster-sched
