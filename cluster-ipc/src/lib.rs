//! cluster-ipc
