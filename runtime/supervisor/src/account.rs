//! The users of this machine, as `/etc/passwd` lists them. It asks no directory service.

use heald_keeper::protocol::User;

/// A user in `/etc/passwd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserAccount {
    pub(crate) name: String,
    pub(crate) user: User,
    pub(crate) home: String,
}

/// Finds a user by name or number. An unknown number is a user without a name.
pub(crate) fn account(wanted: &str) -> Option<UserAccount> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find(&passwd, wanted)
}

fn find(passwd: &str, wanted: &str) -> Option<UserAccount> {
    let known = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1)?.to_owned();
        Some(UserAccount { name, user: User { uid, gid }, home })
    });
    let number: Option<u32> = wanted.parse().ok();
    let nameless =
        number.map(|id| UserAccount { name: wanted.to_owned(), user: User { uid: id, gid: id }, home: "/".into() });
    known.into_iter().find(|account| account.name == wanted || Some(account.user.uid) == number).or(nameless)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken line\nwww:x:33:34:www:/var/www:/usr/sbin/nologin\n";
        let www = UserAccount { name: "www".into(), user: User { uid: 33, gid: 34 }, home: "/var/www".into() };
        assert_eq!(find(passwd, "www"), Some(www.clone()));
        assert_eq!(find(passwd, "33"), Some(www));
        assert_eq!(find(passwd, "4711").unwrap().user, User { uid: 4711, gid: 4711 });
        assert_eq!(find(passwd, "nobody"), None);
    }
}
