//! Whose connections these are. A user is kept as a room of its connections, apart from the rooms of the
//! service, so that all that finds members of rooms finds the devices of users.

use throng_transport::SocketKey;

use super::core::{Core, Farewell};
use crate::event::Cause;
use crate::protocol::close::CloseCode;

impl Core {
    /// Makes an open connection that of a user, or nobody's.
    pub(crate) fn set_user(&mut self, key: SocketKey, user: Option<Box<str>>) {
        let Some(connection) = self.connections.open(key) else {
            return;
        };
        let known = connection.particulars.as_ref().map(|it| &it.user_id);
        if known.unwrap_or(&None) == &user {
            return;
        }
        self.before_user_changes(key);
        self.leave_user(key.slot);
        let particulars = &mut self.connections[key.slot].particulars;
        particulars.get_or_insert_default().user_id = user;
        self.enter_user(key.slot);
        self.after_user_changed(key);
    }

    /// Counts a connection among its user's.
    pub(super) fn enter_user(&mut self, slot: u32) {
        if let Some(particulars) = &self.connections[slot].particulars
            && let Some(user) = &particulars.user_id
        {
            // Users have no bounds but that of connections.
            let _ = self.users.join(user, slot);
        }
    }

    /// The opposite.
    pub(super) fn leave_user(&mut self, slot: u32) {
        if let Some(particulars) = &self.connections[slot].particulars
            && let Some(user) = &particulars.user_id
            && let Some(index) = self.users.index_of(user)
        {
            self.users.leave(index, slot);
        }
    }

    /// Closes the connections that a user has here.
    pub(super) fn close_user(&mut self, user: &str, code: CloseCode, reason: &str) {
        let devices: Vec<u32> = self.users.members(user).into_iter().flatten().collect();
        for slot in devices {
            self.part(slot, Cause::Kicked { code }, &Farewell::Last(code, reason));
        }
    }
}
