//! Passwords of sessions: a keyed hash of the id, so that knowing an id is not enough (design rule 12).

use std::collections::BTreeSet;

use gk_proto::SessionId;
use gk_proto::connect::{PASSWORD_LEN, Password, computable_password};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of the key.
pub const KEY_LEN: usize = 32;

/// How passwords are made. The txn and the snapshot carry only id and timeout, so a password must follow from the id.
#[derive(Clone)]
pub enum Passwords {
    /// ZooKeeper's rule, computable by anybody who knows the id: for ensembles with Apache members.
    Computable,
    /// HMAC-SHA-256 of the id, cut to 16 bytes.
    Keyed {
        /// From the operating system's source of secrets, kept beside the data.
        key: [u8; KEY_LEN],
        /// Sessions that were there when the key was made: they keep the computable rule until they end.
        older: BTreeSet<SessionId>,
    },
}

impl core::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Computable => f.write_str("Computable"),
            Self::Keyed { .. } => f.write_str("Keyed"),
        }
    }
}

impl Passwords {
    /// The password of a session.
    pub fn of(&self, session: SessionId) -> Password {
        match self {
            Self::Keyed { key, older } if !older.contains(&session) => {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("INVARIANT: HMAC takes keys of any length");
                mac.update(&session.0.to_be_bytes());
                let full = mac.finalize().into_bytes();
                let mut password = [0; PASSWORD_LEN];
                for (to, from) in password.iter_mut().zip(full) {
                    *to = from;
                }
                password
            }
            Self::Computable | Self::Keyed { .. } => computable_password(session),
        }
    }

    /// Whether the bytes are the session's password; takes the same time whatever differs.
    pub fn is_right(&self, session: SessionId, given: &[u8]) -> bool {
        let right = self.of(session);
        given.len() == right.len() && given.iter().zip(right).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_passwords_depend_on_key_and_id() {
        let keyed = |byte| Passwords::Keyed { key: [byte; KEY_LEN], older: BTreeSet::from([SessionId(7)]) };
        let session = SessionId(9);
        assert_ne!(keyed(1).of(session), keyed(2).of(session), "key");
        assert_ne!(keyed(1).of(session), keyed(1).of(SessionId(8)), "id");
        assert_ne!(keyed(1).of(session), computable_password(session), "not computable");
        assert_eq!(keyed(1).of(SessionId(7)), computable_password(SessionId(7)), "older sessions keep theirs");
        assert!(keyed(1).is_right(session, &keyed(1).of(session)), "right");
        assert!(!keyed(1).is_right(session, &[0; 16]) && !keyed(1).is_right(session, &[]), "wrong");
    }
}
