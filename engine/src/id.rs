//! Names of connections.

use std::fmt;

use throng_transport::SocketKey;

const SLOT_BITS: u32 = 24;
const GENERATION_BITS: u32 = 31;

/// Connections that one shard can hold.
pub(crate) const MAX_SLOTS: usize = 1 << SLOT_BITS;
/// Generations follow one another modulo this.
pub(crate) const GENERATIONS: u32 = 1 << GENERATION_BITS;

/// The name of a connection, unique within its engine: shard, slot and generation in one `u64`.
///
/// An id outlives its connection and then finds nothing; it is not given to another one until
/// its shard has accepted 2³¹ more connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

impl ConnectionId {
    pub(crate) fn new(shard: u8, key: SocketKey) -> ConnectionId {
        let (slot, generation) = (u64::from(key.slot), u64::from(key.generation));
        ConnectionId(
            u64::from(shard) << (SLOT_BITS + GENERATION_BITS) | generation << SLOT_BITS | slot,
        )
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "masked to the field's width"
    )]
    pub(crate) fn key(self) -> SocketKey {
        SocketKey {
            slot: self.0 as u32 & ((1 << SLOT_BITS) - 1),
            generation: (self.0 >> SLOT_BITS) as u32 & (GENERATIONS - 1),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the topmost field has eight bits"
    )]
    pub(crate) fn shard(self) -> u8 {
        (self.0 >> (SLOT_BITS + GENERATION_BITS)) as u8
    }

    /// The id as a number, for logs and for sending it elsewhere.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// An id from its number. A number that was no id finds no connection.
    pub fn from_u64(id: u64) -> ConnectionId {
        ConnectionId(id)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SocketKey { slot, generation } = self.key();
        write!(f, "ConnectionId({}/{slot}/{generation})", self.shard())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_keeps_its_parts() {
        for shard in [0, 1, 255] {
            for slot in [0, 1, (1 << SLOT_BITS) - 1] {
                for generation in [0, 7, GENERATIONS - 1] {
                    let key = SocketKey { slot, generation };
                    let id = ConnectionId::new(shard, key);
                    assert_eq!((id.shard(), id.key()), (shard, key));
                    assert_eq!(ConnectionId::from_u64(id.to_u64()), id);
                }
            }
        }
    }
}
