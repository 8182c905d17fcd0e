//! Users and groups, by number or by name.

use std::fmt;
use std::str::FromStr;

use nix::unistd;

use super::written::{Written, wanted};

/// The number that `setuid(2)` and its like take for "as it was".
const INVALID_ID: u32 = u32::MAX;

/// A user that workers can run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The number.
    pub(crate) id: u32,
    /// The group of its own, if the system knows the user.
    pub(crate) group: Option<u32>,
    written: String,
}

impl Written for User {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a user's name or number".into()
    }
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let written = text.to_owned();
        let found = match number(text) {
            Some(INVALID_ID) => return Err(wanted::<Self>()),
            Some(id) => {
                let known = unistd::User::from_uid(id.into());
                // A numeric id need not be in the user database.
                let group = known.ok().flatten().map(|user| user.gid.as_raw());
                return Ok(Self { id, group, written });
            }
            None if text.is_empty() || text.contains('\0') => return Err(wanted::<Self>()),
            None => unistd::User::from_name(text),
        };
        match found {
            Ok(Some(user)) => {
                Ok(Self { id: user.uid.as_raw(), group: Some(user.gid.as_raw()), written })
            }
            Ok(None) => Err(format!("there is no user {text} on this system")),
            Err(error) => Err(format!("the user {text} cannot be looked up: {}", error.desc())),
        }
    }
}

/// As it was written.
impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// A group that workers can belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The number.
    pub(crate) id: u32,
    written: String,
}

impl Group {
    /// The group of that number.
    pub(super) fn of(id: u32) -> Self {
        Self { id, written: id.to_string() }
    }
}

impl Written for Group {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "a group's name or number".into()
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = match number(text) {
            Some(INVALID_ID) => return Err(wanted::<Self>()),
            Some(id) => return Ok(Self::of(id)),
            None if text.is_empty() || text.contains('\0') => return Err(wanted::<Self>()),
            None => unistd::Group::from_name(text),
        };
        match found {
            Ok(Some(group)) => Ok(Self { id: group.gid.as_raw(), written: text.to_owned() }),
            Ok(None) => Err(format!("there is no group {text} on this system")),
            Err(error) => Err(format!("the group {text} cannot be looked up: {}", error.desc())),
        }
    }
}

/// As it was written.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // One that is too large is invalid.
    plain.then(|| text.parse().unwrap_or(INVALID_ID))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_number_and_name() {
        let by_name: User = "root".parse().unwrap();
        let by_number: User = "0".parse().unwrap();
        assert_eq!((by_name.id, by_name.group), (0, Some(0)));
        assert_eq!((by_number.id, by_number.group), (0, Some(0)));
        assert_eq!((by_name.to_string(), by_number.to_string()), ("root".into(), "0".into()));
        let group: Group = "0".parse().unwrap();
        assert_eq!(group, Group::of(0));
    }

    #[test]
    fn a_numeric_id_need_not_be_in_the_user_database() {
        let user: User = "3999999999".parse().unwrap();
        assert_eq!((user.id, user.group), (3_999_999_999, None));
        let group: Group = "3999999999".parse().unwrap();
        assert_eq!(group.id, 3_999_999_999);
    }

    #[test]
    fn who_is_not_there_is_named() {
        let error = "no-such-user".parse::<User>().unwrap_err();
        assert_eq!(error, "there is no user no-such-user on this system");
        let error = "no-such-group".parse::<Group>().unwrap_err();
        assert_eq!(error, "there is no group no-such-group on this system");
        for text in ["", "-1", "4294967295", "4294967296", "a\0b"] {
            assert!(text.parse::<User>().is_err(), "{text:?}");
            assert!(text.parse::<Group>().is_err(), "{text:?}");
        }
    }
}
