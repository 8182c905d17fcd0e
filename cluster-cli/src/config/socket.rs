//! The owner and the mode of Unix-domain sockets' files.

use std::fmt;
use std::str::FromStr;

use super::account::{Group, User};
use super::written::{Written, wanted};

/// Permissions, in octal. (In a file they stand in quotes: a number of TOML's would be decimal.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketMode(pub(crate) u32);

impl SocketMode {
    /// The owner and the group may connect.
    pub(crate) const OWNER_AND_GROUP: Self = Self(0o660);
}

impl Written for SocketMode {
    fn takes() -> String {
        "permissions in octal, such as \"0660\" (owner and group may connect)".into()
    }
}

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0o").unwrap_or(text);
        let plain =
            (3..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| plain && *mode <= 0o777);
        mode.map(Self).ok_or_else(wanted::<Self>)
    }
}

impl fmt::Display for SocketMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// A user, a group, or both, as chown(1) takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketOwner {
    pub(crate) user: Option<User>,
    pub(crate) group: Option<Group>,
}

impl Written for SocketOwner {
    const NUMBERS: bool = true;

    fn takes() -> String {
        "USER, USER:GROUP or :GROUP, by names or numbers".into()
    }
}

impl FromStr for SocketOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = match text.split_once(':') {
            Some((_, "")) => return Err(wanted::<Self>()),
            Some((user, group)) => (user, Some(group)),
            None if text.is_empty() => return Err(wanted::<Self>()),
            None => (text, None),
        };
        let user = (!user.is_empty()).then(|| user.parse()).transpose()?;
        let group = group.map(str::parse).transpose()?;
        Ok(Self { user, group })
    }
}

/// As it was written.
impl fmt::Display for SocketOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            user.fmt(f)?;
        }
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        for (text, mode) in [("0660", 0o660), ("666", 0o666), ("0o600", 0o600), ("0000", 0)] {
            assert_eq!(text.parse(), Ok(SocketMode(mode)), "{text}");
        }
        assert_eq!(SocketMode(0o660).to_string(), "0660");
        for text in ["", "66", "0888", "1777", "00660", "-660", "+660", "rw-rw----"] {
            assert!(text.parse::<SocketMode>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn owners_are_as_for_chown() {
        for text in ["root", "root:root", ":root", "0:0", "0", ":5"] {
            let owner: SocketOwner = text.parse().expect(text);
            assert_eq!(owner.to_string(), text);
            assert_eq!(owner.user.is_some(), !text.starts_with(':'));
            assert_eq!(owner.group.is_some(), text.contains(':'));
        }
        for text in ["", ":", "root:", "no-such-user", ":no-such-group", "0:0:0"] {
            assert!(text.parse::<SocketOwner>().is_err(), "{text:?}");
        }
    }
}
