//! The page: one file, which asks for nothing but `/status`.

/// The page.
pub(super) const PAGE: &str = include_str!("page.html");

/// What the browser lets the page do: run that one script, of which this is the hash, look as that
/// one style says, and ask this server.
pub(super) const POLICY: &str = "default-src 'none'; \
    script-src 'sha256-omnwlBIl1dteNjTJcseVnuG0jlwifBbJWlhrDgk8aS0='; \
    style-src 'sha256-fuJeGAR3ZXA1sgrh2HfomZlSsPVybHrabXD8wvGvADQ='; \
    img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    /// What stands between the one tag of that name and its end.
    fn within(tag: &str) -> &'static str {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let mut parts = PAGE.split(open.as_str());
        let (_, rest, None) = (parts.next(), parts.next().unwrap(), parts.next()) else {
            panic!("{open} is there more than once");
        };
        rest.split_once(close.as_str()).unwrap().0
    }

    #[test]
    fn the_policy_lets_the_script_and_the_style_through() {
        for (tag, directive) in [("script", "script-src"), ("style", "style-src")] {
            let hash = STANDARD.encode(Sha256::digest(within(tag)));
            let allowed = format!("{directive} 'sha256-{hash}';");
            assert!(POLICY.contains(&allowed), "page.rs should have: {allowed}");
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        // The icon says what kind of image it is.
        let page = PAGE.replace("xmlns='http://www.w3.org/2000/svg'", "");
        for word in ["http:", "https:", "src=", "@import", "url(", "style=", "onclick", "innerHTML"]
        {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(PAGE.matches("href=").count(), 1, "the icon");
        assert!(PAGE.contains(r#"href="data:image/svg+xml,"#));
    }
}
