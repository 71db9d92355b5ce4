//! Roles: what a client may do, whichever dialect it calls.

/// A part of what a client may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Start transactions, cancel them, and read its own ones.
    Ask,
    /// Read and change users, their devices and their signing identities.
    People,
    /// Create, read and delete activation codes.
    Enrol,
}

/// The roles of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Roles(u8);

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Ask, Self::People, Self::Enrol];

    /// The role's name in the ledger, on the command line and in refusals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::People => "people",
            Self::Enrol => "enrol",
        }
    }

    fn bit(self) -> u8 {
        match self {
            Self::Ask => 1,
            Self::People => 2,
            Self::Enrol => 4,
        }
    }
}

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);

    /// Whether `role` is among them.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// The roles that are also among `others`.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// The roles, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

/// The least that makes a client useful: [`Role::Ask`].
impl Default for Roles {
    fn default() -> Self {
        Self(Role::Ask.bit())
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_the_roles_that_it_was_given_and_no_other() {
        assert_eq!(Roles::default().iter().collect::<Vec<_>>(), [Role::Ask]);
        for bits in 0..8 {
            let given: Vec<_> =
                Role::ALL.into_iter().filter(|role| bits & role.bit() > 0).collect();
            let roles: Roles = given.iter().copied().collect();
            assert_eq!(roles.iter().collect::<Vec<_>>(), given);
            for role in Role::ALL {
                assert_eq!(roles.has(role), given.contains(&role), "{roles:?} {role:?}");
                assert_eq!(roles.and(Roles::from_iter([role])).has(role), roles.has(role));
            }
        }
        assert_eq!(Roles::NONE.iter().count(), 0);
    }
}
