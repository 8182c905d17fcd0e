//! Which of this worker's listens on one address this is.

use std::collections::{BTreeMap, BTreeSet};

use cluster_proto::{AddressType, Field, ListenQuery};

/// The address of a query: what two listens must share to be counted together.
type Address = (Field<String>, Field<i32>, Field<AddressType>, Field<i32>);

/// Counts the listens on each address, and starts again when none is left.
///
/// Thus two `listen(0)` of one worker get two ports, and the same `listen(0)` of every worker one.
/// Node's worker never gives the number of a failed listen back; this one does. The number is part
/// of every server's key in a primary of Node 20 or 22, so that there the second try of Node's
/// worker misses the server that the others share. Node 24 and later use it for port 0 only.
#[derive(Debug, Default)]
pub(super) struct Indexes(BTreeMap<Address, Counter>);

#[derive(Debug, Default)]
struct Counter {
    next: u32,
    used: BTreeSet<u32>,
}

impl Indexes {
    /// Fills in the query's index.
    pub(super) fn assign(&mut self, query: &mut ListenQuery) {
        let counter = self.0.entry(address(query)).or_default();
        query.index = counter.next;
        counter.used.insert(counter.next);
        counter.next += 1;
    }

    /// The server of that query is closed, or never came to be.
    pub(super) fn release(&mut self, query: &ListenQuery) {
        let address = address(query);
        if let Some(counter) = self.0.get_mut(&address) {
            counter.used.remove(&query.index);
            if counter.used.is_empty() {
                self.0.remove(&address);
            }
        }
    }
}

fn address(query: &ListenQuery) -> Address {
    (query.address.clone(), query.port, query.address_type, query.fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(indexes: &mut Indexes, port: i32) -> u32 {
        let mut query = ListenQuery { port: Field::Is(port), ..ListenQuery::default() };
        indexes.assign(&mut query);
        query.index
    }

    #[test]
    fn counts_each_address_and_starts_again_when_none_is_left() {
        let mut indexes = Indexes::default();
        assert_eq!((index(&mut indexes, 0), index(&mut indexes, 0)), (0, 1));
        assert_eq!(index(&mut indexes, 80), 0);

        let of = |index| ListenQuery { port: Field::Is(0), index, ..ListenQuery::default() };
        indexes.release(&of(0));
        assert_eq!(index(&mut indexes, 0), 2, "not reused while another is open");
        indexes.release(&of(1));
        indexes.release(&of(2));
        assert_eq!(index(&mut indexes, 0), 0);
    }
}
