//! What must hold of a run that is over: the book against what clients heard.

use std::collections::{HashMap, HashSet};

use throng::{Cause, Close};

use super::book::{Book, Membership, Page, Publication, Sender, text};
use super::client::{Client, Heard};
use super::plan::Plan;

type Checked = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($wrong:tt)+) => {
        if !$holds {
            return Err(format!($($wrong)+));
        }
    };
}

/// Everything that is known of a run.
pub(super) struct Known<'w> {
    pub(super) plan: &'w Plan,
    pub(super) book: &'w Book,
    pub(super) clients: &'w [Client],
}

impl Known<'_> {
    pub(super) fn check(&self) -> Checked {
        if let Some(wrong) = self.book.wrongs.first() {
            return Err(wrong.clone());
        }
        for (number, publication) in self.book.publications.iter().enumerate() {
            self.check_receipt(number, publication)?;
        }
        for client in self.clients {
            self.check_client(client)
                .map_err(|wrong| format!("client {}: {wrong}", client.number))?;
        }
        Ok(())
    }

    /// A receipt is told once, and adds up to the members.
    fn check_receipt(&self, number: usize, publication: &Publication) -> Checked {
        let Some((_, turn)) = publication.resolved else {
            return Err(format!("the receipt of message {number} was never told"));
        };
        let (Some(receipt), Some(_)) = (&publication.receipt, publication.room) else {
            return Ok(());
        };
        let audience = receipt.audience();
        let pages = self.book.pages.iter();
        let (mut least, mut most) = (0, 0);
        for (client, page) in pages {
            let is_excepted = is_excepted(publication, *client);
            let overlaps = |it: &&Membership| overlaps(it, page, publication);
            if is_excepted || !page.memberships.iter().any(|it| overlaps(&it)) {
                continue;
            }
            most += 1;
            least += usize::from(
                page.memberships
                    .iter()
                    .any(|it| covers(it, page, publication)),
            );
        }
        ensure!(
            receipt.forwarded == 0,
            "message {number}'s whole receipt leaves out shards"
        );
        let is_refused = receipt.refused > 0;
        ensure!(
            audience <= most && (is_refused || audience >= least),
            "message {number} (turn {turn}) counts {audience} of {least} to {most} members: {receipt:?}"
        );
        Ok(())
    }

    fn check_client(&self, client: &Client) -> Checked {
        if let Some(wrong) = &client.wrong {
            return Err(wrong.clone());
        }
        let nobody = Page::default();
        let page = self.book.pages.get(&client.number).unwrap_or(&nobody);
        ensure!(page.opened <= 1, "opened {} times", page.opened);
        ensure!(
            page.closed.len() == page.opened as usize,
            "opened {} times and closed {} times",
            page.opened,
            page.closed.len()
        );
        let (Some(close), Some(_)) = (page.closed.first(), page.ended) else {
            ensure!(
                client.heard.is_empty(),
                "it heard something before it was let in"
            );
            return Ok(());
        };
        self.check_cause(client, page, close)?;
        let heard = self.read(client, page)?;
        check_order(self.book, &heard.messages)?;
        ensure!(
            heard.told <= close.counts.dropped,
            "told of {} messages missed where {} were",
            heard.told,
            close.counts.dropped
        );
        if heard.is_orderly && is_gentle(&close.cause) {
            self.check_complete(client, page, close, &heard)?;
        }
        Ok(())
    }

    /// What the client heard, each message as it was published, once, and while it was a member.
    fn read(&self, client: &Client, page: &Page) -> Result<Listened, String> {
        let mut listened = Listened::default();
        let mut known = HashSet::new();
        for heard in &client.heard {
            let said = match heard {
                Heard::Close(_) => {
                    listened.is_orderly = true;
                    continue;
                }
                Heard::Text(said) => said,
            };
            if let Some(missed) = said.strip_prefix("g ") {
                listened.told += missed.parse::<u64>().map_err(|_| format!("{said:?}"))?;
                continue;
            }
            let mut fields = said.split(' ').skip(1).map(str::parse::<u64>);
            let (Some(Ok(number)), Some(Ok(offset))) = (fields.next(), fields.next()) else {
                return Err(format!("it heard {said:.80?}, which nobody said"));
            };
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            let Some(publication) = self.book.publications.get(number) else {
                return Err(format!("it heard {said:.80?}, which nobody said"));
            };
            ensure!(
                *said == text(number, offset, publication.length)
                    && offset == publication.offset.unwrap_or_default(),
                "message {number} is not what was said: {said:.80?}"
            );
            ensure!(known.insert(number), "message {number} came twice");
            let is_for_it = match publication.room {
                None => publication.sender == Sender::Client(client.number),
                Some(_) => {
                    let mut memberships = page.memberships.iter();
                    !is_excepted(publication, client.number)
                        && (memberships.any(|it| overlaps(it, page, publication))
                            || page.recovers(publication))
                        && !precedes(publication, page)
                }
            };
            ensure!(
                is_for_it,
                "message {number} was not for it: {publication:?}"
            );
            listened.messages.push(number);
        }
        listened.known = known;
        Ok(listened)
    }

    /// Who was told an orderly end misses no more than it was told of, or its counts say.
    fn check_complete(
        &self,
        client: &Client,
        page: &Page,
        close: &Close,
        heard: &Listened,
    ) -> Checked {
        let owed = |(number, publication): &(usize, &Publication)| {
            if heard.known.contains(number) || is_excepted(publication, client.number) {
                return false;
            }
            let receipt = publication.receipt.as_ref();
            if receipt.is_none_or(|receipt| receipt.refused > 0) {
                return false;
            }
            match publication.room {
                None => {
                    publication.sender == Sender::Client(client.number)
                        && receipt.is_some_and(|receipt| receipt.queued == 1)
                }
                Some(_) => {
                    let mut memberships = page.memberships.iter();
                    memberships.any(|it| covers(it, page, publication))
                        || page.recovers(publication)
                }
            }
        };
        let publications = self.book.publications.iter().enumerate();
        let missing: Vec<usize> = publications
            .filter(owed)
            .map(|(number, _)| number)
            .collect();
        let lost = close.counts.dropped + close.counts.conflated;
        ensure!(
            missing.len() as u64 <= lost,
            "it lacks {missing:?} and lost {lost}: {close:?}"
        );
        self.check_offsets(page, heard, lost)
    }

    /// Between the first and the last that a member heard no offset is missing.
    fn check_offsets(&self, page: &Page, heard: &Listened, lost: u64) -> Checked {
        for room in 0..self.plan.sequenced {
            let mut own = page.memberships.iter().filter(|it| it.room == room);
            let (Some(_), None) = (own.next(), own.next()) else {
                continue;
            };
            let of_room = |number: &&usize| self.book.publications[**number].room == Some(room);
            let offset = |number: &usize| self.book.publications[*number].offset;
            let heard: Vec<u64> = heard
                .messages
                .iter()
                .filter(of_room)
                .filter_map(offset)
                .collect();
            let (Some(first), Some(last)) = (heard.first(), heard.last()) else {
                continue;
            };
            let resumption = page.resumption(room);
            let first = match resumption {
                Some(it) if it.recovered => it.since + 1,
                Some(it) if self.plan.history.is_some() => it.until + 1,
                _ => *first,
            };
            let excepted = self
                .book
                .publications
                .iter()
                .filter(|it| it.room == Some(room) && it.excepts_sender && it.offset.is_some());
            let holes = (last - first + 1).saturating_sub(heard.len() as u64);
            ensure!(
                holes <= lost + excepted.count() as u64,
                "offsets of room {room} from {first} to {last} lack {holes}"
            );
        }
        Ok(())
    }

    fn check_cause(&self, client: &Client, page: &Page, close: &Close) -> Checked {
        let (deeds, calm) = (client.deeds, self.plan.is_calm);
        let fits = match &close.cause {
            Cause::PeerClosed { .. } => deeds.sent_close,
            Cause::PeerVanished => deeds.left || !calm,
            // A slow network delays what would be a sign of life.
            Cause::HeartbeatMissed => self.plan.config.ping_interval.is_some() && !calm,
            Cause::ProtocolFault => deeds.broke_rules,
            // A few bytes of a queue are soon passed by what a turn sends to everybody.
            Cause::SlowConsumer => !matches!(close.counts.messages_out, 0) || !calm,
            Cause::Kicked { code } => page.kicks.contains(&u16::from(*code)),
            Cause::Drain => true,
            Cause::OverBudget => self.plan.config.memory_budget.is_some(),
            Cause::TooBig | Cause::Policy | Cause::HandlerPanicked | Cause::LibraryFault => false,
        };
        ensure!(fits, "it ended by {:?} after {deeds:?}", close.cause);
        Ok(())
    }
}

#[derive(Default)]
struct Listened {
    messages: Vec<usize>,
    known: HashSet<usize>,
    /// Messages that gap notices told of.
    told: u64,
    /// The close frame was heard.
    is_orderly: bool,
}

/// Whether what was queued goes out before the close frame of such an end.
fn is_gentle(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::PeerClosed { .. } | Cause::Kicked { .. } | Cause::Drain | Cause::ProtocolFault
    )
}

fn is_excepted(publication: &Publication, client: usize) -> bool {
    publication.excepts_sender && publication.sender == Sender::Client(client)
}

/// Whether it came before what its member was to be sent, having joined from a place in the room.
fn precedes(publication: &Publication, page: &Page) -> bool {
    let resumption = publication.room.and_then(|room| page.resumption(room));
    resumption.is_some_and(|it| {
        let last_before = if it.recovered { it.since } else { it.until };
        publication.offset.is_some_and(|at| at <= last_before)
    })
}

/// Whether the message may have found the member.
fn overlaps(membership: &Membership, page: &Page, publication: &Publication) -> bool {
    let left = membership.left.or(page.ended.map(|(tick, _)| tick));
    publication.room == Some(membership.room)
        && publication
            .resolved
            .is_none_or(|(tick, _)| membership.joined < tick)
        && left.is_none_or(|left| left > publication.published)
}

/// Whether the message must have found the member: it was one from before the publication until
/// after every shard had answered, and its end came in a later turn.
fn covers(membership: &Membership, page: &Page, publication: &Publication) -> bool {
    let Some((resolved, turn)) = publication.resolved else {
        return false;
    };
    publication.room == Some(membership.room)
        && membership.joined < publication.published
        && membership.left.is_none_or(|left| left > resolved)
        && page.ended.is_none_or(|(_, ended)| ended > turn)
}

/// Of one sender to one room, in one lane, messages come in the order published; of a sequenced room,
/// by rising offsets.
fn check_order(book: &Book, heard: &[usize]) -> Checked {
    let mut latest: HashMap<_, usize> = HashMap::new();
    let mut offsets: HashMap<usize, u64> = HashMap::new();
    for &number in heard {
        let publication = &book.publications[number];
        if !publication.has_key {
            let stream = (publication.sender, publication.room, publication.is_urgent);
            let before = latest.insert(stream, number);
            ensure!(
                before.is_none_or(|before| before < number),
                "message {number} came behind {before:?} of the same sender"
            );
        }
        if let (Some(room), Some(offset)) = (publication.room, publication.offset) {
            let before = offsets.insert(room, offset);
            ensure!(
                before.is_none_or(|before| before < offset),
                "offset {offset} of room {room} came behind {before:?}"
            );
        }
    }
    Ok(())
}
