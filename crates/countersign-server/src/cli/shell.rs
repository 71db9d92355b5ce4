//! Words of printed commands that a user pastes into a shell.

use std::borrow::Cow;

/// A word as a POSIX shell reads it back (POSIX.1-2024, XCU 2.2.2): in single quotes, unless none
/// of its characters is special in a shell.
pub(super) fn quoted(word: &str) -> Cow<'_, str> {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte);
    // A word that begins with a dash would be read as an option, quoted or not; a path can be
    // written differently.
    if !word.is_empty() && word.bytes().all(is_bare) {
        return Cow::Borrowed(word);
    }
    Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_back_as_it_was_and_runs_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for word in [
            "jane",
            "o'brien",
            "x'; touch ran; '",
            "",
            "two words",
            "$(touch ran)",
            "`touch ran`",
            "a\\b",
            "\"",
            "~",
            "*",
            "#",
            "J\u{fc}rgen",
        ] {
            let script = format!("printf %s {}", quoted(word));
            let mut shell = Command::new("sh");
            let output = shell.args(["-c", &script]).current_dir(&directory).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
        assert!(!directory.path().join("ran").exists());
        assert_eq!(quoted("jane"), "jane");
    }
}
