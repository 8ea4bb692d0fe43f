//! How many connections each client has.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

/// Locks that the addresses are spread over, so that shards that let somebody in rarely meet.
const STRIPES: usize = 64;

/// Counts of connections by address. It holds as many entries as there are connections at most, and is asked
/// when one is let in and when it ends, never on a message's way.
#[derive(Debug)]
pub(crate) struct PerAddress {
    max: usize,
    stripes: [Mutex<HashMap<u64, usize>>; STRIPES],
}

impl PerAddress {
    /// No connections yet, and so many of one address at most.
    pub(crate) fn new(max: usize) -> Arc<PerAddress> {
        Arc::new(PerAddress {
            max,
            stripes: std::array::from_fn(|_| Mutex::default()),
        })
    }

    /// Counts one more; `None` when that is too many.
    pub(crate) fn count(self: &Arc<PerAddress>, address: IpAddr) -> Option<Counted> {
        let client = household(address);
        let mut stripe = self.stripe(client);
        let count = stripe.entry(client).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(stripe);
        Some(Counted {
            table: Arc::clone(self),
            client,
        })
    }

    fn stripe(&self, client: u64) -> MutexGuard<'_, HashMap<u64, usize>> {
        // Neighbouring addresses differ in their last bits, neighbouring networks further up.
        let mixed = client ^ (client >> 16) ^ (client >> 32);
        let index = usize::try_from(mixed % STRIPES as u64).unwrap_or_default();
        self.stripes[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Addresses that have connections.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let lock = |it: &Mutex<HashMap<u64, usize>>| it.lock().unwrap().len();
        self.stripes.iter().map(lock).sum()
    }
}

/// One connection of a client's, counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    table: Arc<PerAddress>,
    client: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut stripe = self.table.stripe(self.client);
        if let Some(count) = stripe.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                stripe.remove(&self.client);
            }
        }
    }
}

/// What those of IPv4 are counted under: multicast networks, which nobody connects from (RFC 4291 §2.7).
const V4: u64 = 0xff00_0000 << 32;

/// Who has an address: one of IPv4 alone, or the whole `/64` of one of IPv6, all of which one household has.
pub(crate) fn household(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => V4 | u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64;
            u64::try_from(bits).unwrap_or_default()
        }
    }
}
