//! Looks for secrets where none may be: in what programs say, and in every file they leave.

/// Planted in the environment of every scene. Scenes are plain http, where no token may be sent, and it may be nowhere
/// else either.
pub(crate) const TOKEN: &str = "planted-token-of-the-environment";

/// Fails if a text holds one of these.
#[track_caller]
pub(crate) fn none_in<'s>(what: &str, text: &[u8], secrets: impl IntoIterator<Item = &'s str>) {
    for secret in secrets {
        assert!(!secret.is_empty(), "an empty secret is found everywhere");
        let found = text
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        assert!(
            found.is_none(),
            "{what} holds a secret, `{secret}`:\n{}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn a_secret_is_found() {
    none_in("it", b"an innocent text", ["secret"]);
    let found = std::panic::catch_unwind(|| none_in("it", b"a \xffsecret", ["else", "secret"]));
    assert!(found.is_err());
}
