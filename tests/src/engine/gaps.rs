//! What clients are told of messages that they have missed.

/// A gap as the engine tells it by default: the room and how many messages; `None` for any other text.
pub fn gap(text: &str) -> Option<(Option<&str>, usize)> {
    let data = text
        .strip_prefix(r#"{"type":"notify","event":"gap","data":{"room":"#)?
        .strip_suffix('}')?;
    let (data, timestamp) = data.split_once(r#"},"timestamp":"#)?;
    timestamp.parse::<u64>().ok()?;
    let (room, missed) = data.split_once(r#","missed":"#)?;
    let name = || room.strip_prefix('"')?.strip_suffix('"');
    let room = if room == "null" { None } else { Some(name()?) };
    Some((room, missed.parse().ok()?))
}
