//! Image references as tasks, pods and functions spell them: `registry/repository:tag@digest`, or a digest alone.

use std::fmt;
use std::str::FromStr;

use crate::domain::text::finding::quoted;
use crate::domain::usage::reports::is_account;

/// A reference to an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageReference {
    /// The registry's host, with its port if it has one; `None` where the reference starts with the repository.
    pub registry: Option<String>,
    /// The repository's name, slashes included; empty where there is nothing but a digest.
    pub repository: String,
    /// The tag; `latest` where the reference has neither a tag nor a digest.
    pub tag: Option<String>,
    /// The digest, `sha256:…`, in lower case.
    pub digest: Option<String>,
}

/// Prefixes that container runtimes add to a reference.
const RUNTIME_PREFIXES: [&str; 4] = ["docker-pullable://", "docker://", "oci://", "containerd://"];

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is not an image reference: {problem}; write repository:tag, repository@sha256:… or the same behind a registry", quoted(.text))]
pub struct InvalidReference {
    text: String,
    problem: &'static str,
}

impl ImageReference {
    /// An image that is known by its digest and nothing else. It may be in any repository.
    #[must_use]
    pub fn bare_digest(digest: &str) -> Self {
        let digest = Some(digest.to_ascii_lowercase());
        Self { registry: None, repository: String::new(), tag: None, digest }
    }

    /// Whether the reference is a bare digest. Runtimes write the id of an image in the same form, which is the digest of its
    /// configuration.
    #[must_use]
    pub const fn is_bare_digest(&self) -> bool {
        self.repository.is_empty()
    }

    /// Reads a reference of something that runs, which must name its image for certain: a digest of less than its whole
    /// length names nothing.
    ///
    /// # Errors
    ///
    /// When the text is not a reference, or has a digest that is cut off.
    pub fn parse_exact(text: &str) -> Result<Self, InvalidReference> {
        let reference: Self = text.parse()?;
        let is_whole = reference.digest.as_deref().is_none_or(is_whole_digest);
        if is_whole {
            Ok(reference)
        } else {
            Err(InvalidReference { text: text.to_owned(), problem: CUT_OFF })
        }
    }

    /// The account whose ECR registry the reference names; `None` for another registry, or none.
    #[must_use]
    pub fn registry_id(&self) -> Option<&str> {
        // 123456789012.dkr.ecr.eu-west-1.amazonaws.com, 123456789012.dkr-ecr.eu-west-1.on.aws and their variants.
        let (account, host) = self.registry.as_deref()?.split_once('.')?;
        (is_account(account) && (host.starts_with("dkr.ecr") || host.starts_with("dkr-ecr")))
            .then_some(account)
    }

    /// The Region of the ECR registry that the reference names; `None` for another registry, or none.
    #[must_use]
    pub fn region(&self) -> Option<&str> {
        self.registry_id()?;
        // After the account and `dkr.ecr`, `dkr.ecr-fips` or `dkr-ecr` comes the Region.
        let (_, host) = self.registry.as_deref()?.split_once('.')?;
        let host = host.strip_prefix("dkr.").unwrap_or(host);
        host.split('.').nth(1)
    }

    /// The digest that a service reports beside a name; `None` if it is truncated, since a truncated digest identifies nothing.
    #[must_use]
    pub fn recorded_digest(digest: Option<&str>) -> Option<String> {
        digest.map(str::to_ascii_lowercase).filter(|digest| is_whole_digest(digest))
    }

    /// Whether the reference may name an image of the repository. In doubt it does: a registry of another name can be a proxy for
    /// ECR.
    #[must_use]
    pub fn may_name(&self, repository: Option<&str>, registry_id: Option<&str>) -> bool {
        let same_registry = match (self.registry_id(), registry_id) {
            // An empty one is not known.
            (Some(named), Some(known)) if !known.is_empty() => named == known,
            _ => true,
        };
        same_registry && repository.is_none_or(|repository| repository == self.repository)
    }
}

/// The algorithm by which ECR makes digests.
const SHA256: &str = "sha256";
/// The algorithms of digests.
const ALGORITHMS: [&str; 3] = [SHA256, "sha384", "sha512"];

/// Maximum length of a tag.
const MAX_TAG: usize = 128;

/// Whether a byte may occur in a tag, or in a part of a repository's name.
const fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// Whether a text may be the host of a registry, with or without a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_of_hosts = |byte: u8| is_of_names(byte) || matches!(byte, b'[' | b']' | b':');
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    !host.is_empty() && host.bytes().all(is_of_hosts) && port.is_none_or(is_port)
}

/// The problem of a digest that is not all there.
const CUT_OFF: &str = "its digest is cut off, and names no image for certain";
/// The problem of a name that is likely a digest that is not all there, as `docker ps` and tables print it.
const CUT_OFF_ALONE: &str = "it looks like a digest that is cut off, and names no image for certain; write the whole digest, or a tag \
                             behind it if a repository is called so";

/// Whether a text may be a digest that is cut off: 7 to 63 hexadecimal digits, as git and Docker print them. A word of such letters
/// is a repository.
fn may_be_cut_off(text: &str) -> bool {
    (7..64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

/// Whether a repository of Amazon ECR may be called so: parts of small letters and digits, with `.`, `_`, `__` or some `-` between
/// them (`CreateRepository`, the pattern of `repositoryName`).
fn is_name_of_ecr(repository: &str) -> bool {
    repository.split('/').all(|part| {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = part.bytes().next().zip(part.bytes().next_back());
        ends.is_some_and(|(first, last)| is_inner(first) && is_inner(last))
            && part.bytes().all(|byte| is_inner(byte) || matches!(byte, b'.' | b'_' | b'-'))
    })
}

/// Whether a digest is complete: 64 hexadecimal digits for SHA-256, the algorithm of ECR.
fn is_whole_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == digits && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a text is a digest as ECR writes it: complete, and in lower case. Any other text equals no digest of an image.
#[must_use]
pub fn is_exact_digest(text: &str) -> bool {
    is_sha256(text) || (is_whole_digest(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase()))
}

/// Whether a text is a digest as Amazon ECR makes them: `sha256:` and 64 hexadecimal digits in lower case.
#[must_use]
pub fn is_sha256(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").map(str::as_bytes);
    hex.is_some_and(|hex| hex.len() == 64 && hex.as_chunks().0.iter().all(are_hex_digits))
}

/// Whether eight bytes are hexadecimal digits in lower case. All at once, since listings have a digest for each image: a sum has the
/// highest bit of a byte set if the byte is not below a bound.
fn are_hex_digits(bytes: &[u8; 8]) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let bytes = u64::from_ne_bytes(*bytes);
    if bytes & HIGH != 0 {
        return false;
    }
    let is_from = |bound: u8| bytes + (0x80 - u64::from(bound)) * EACH;
    let digits = is_from(b'0') & !is_from(b'9' + 1);
    let letters = is_from(b'a') & !is_from(b'f' + 1);
    (digits | letters) & HIGH == HIGH
}

impl FromStr for ImageReference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let fail = |problem| Err(InvalidReference { text: text.to_owned(), problem });
        if text.is_empty() {
            return fail("it is empty");
        }
        if text.chars().any(char::is_whitespace) {
            return fail("it contains white space");
        }
        if text.chars().any(char::is_control) {
            return fail("it contains a control character");
        }
        if text.starts_with("arn:") {
            return fail("it is an ARN, which names a repository and no image");
        }
        if let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) {
            // Of other hosts it is the address of a page.
            return match rest.parse::<Self>() {
                Ok(reference) if reference.registry_id().is_some() => Ok(reference),
                _ => fail(
                    "it is the address of a page; write the host of the registry and what follows it alone",
                ),
            };
        }
        let text = RUNTIME_PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        if let Some((algorithm, hex)) = text.split_once(':')
            && ALGORITHMS.iter().any(|known| algorithm.eq_ignore_ascii_case(known))
            && !hex.contains(['/', '@'])
        {
            // A repository of this name would be as strange as its tag, and the digest of an image is common.
            let digest = text.to_ascii_lowercase();
            return if is_whole_digest(&digest) { Ok(Self::bare_digest(&digest)) } else { fail(CUT_OFF) };
        }
        // No repository may be called so: it is how some runtimes tell the id of an image.
        let digest = format!("{SHA256}:{text}");
        if is_whole_digest(&digest) {
            return Ok(Self::bare_digest(&digest));
        }
        if may_be_cut_off(text) {
            return fail(CUT_OFF_ALONE);
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => match digest.split_once(':') {
                Some((algorithm, hex))
                    if !algorithm.is_empty()
                        && !hex.is_empty()
                        && hex.bytes().all(|b| b.is_ascii_hexdigit()) =>
                {
                    (name, Some(digest.to_ascii_lowercase()))
                }
                _ => return fail("what follows the @ is not a digest"),
            },
        };
        let (registry, path) = match name.split_once('/') {
            // Docker's rule: a first component is a host if it could not be part of a repository's name on the Hub.
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (Some(first.to_owned()), rest)
            }
            _ => (None, name),
        };
        if registry.as_deref().is_some_and(|host| !is_host(host)) {
            return fail("what stands before its first slash is no host");
        }
        let (repository, tag) = match path.rsplit_once(':') {
            Some((_, tag)) if tag.contains('/') => {
                return fail("there is a colon inside of the repository's name");
            }
            Some((repository, tag)) => (repository, Some(tag)),
            None => (path, None),
        };
        if repository.is_empty() || repository.split('/').any(str::is_empty) {
            return fail("the repository's name has an empty part");
        }
        if !repository.bytes().all(|byte| byte == b'/' || is_of_names(byte)) {
            return fail("the repository's name has a character that none has");
        }
        if tag == Some("") {
            return fail("the tag is empty");
        }
        if tag.is_some_and(|tag| tag.len() > MAX_TAG || !tag.bytes().all(is_of_names)) {
            return fail("the tag is too long or has a character that none has");
        }
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        let reference = Self { registry, repository: repository.to_owned(), tag, digest };
        // Other registries may know other names. One that none of ECR's repositories has would protect nothing.
        let is_of_ecr = reference.registry.is_none() || reference.registry_id().is_some();
        if is_of_ecr && !is_name_of_ecr(repository) {
            return fail(
                "no repository of Amazon ECR may be called so: parts of small letters and digits, with `.`, `_` or `-` between them",
            );
        }
        Ok(reference)
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) if self.is_bare_digest() => f.write_str(digest),
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ImageReference {
        text.parse().unwrap()
    }

    #[test]
    fn the_parts_of_a_reference() {
        let full = read("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1@sha256:ab12");
        assert_eq!(full.registry_id(), Some("123456789012"));
        assert_eq!(full.repository, "team/app");
        assert_eq!(full.tag.as_deref(), Some("v1"));
        assert_eq!(full.digest.as_deref(), Some("sha256:ab12"));
        assert_eq!(full.to_string(), "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1@sha256:ab12");

        let dual_stack = read("123456789012.dkr-ecr.eu-west-1.on.aws/app@sha256:ab");
        assert_eq!((dual_stack.registry_id(), dual_stack.tag.as_ref()), (Some("123456789012"), None));

        let local = read("localhost:5000/app");
        assert_eq!(local.registry.as_deref(), Some("localhost:5000"));
        assert_eq!(local.tag.as_deref(), Some("latest"));

        assert_eq!(read("team/app:1").registry, None);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "",
            "a b",
            "app@",
            "app@sha256:",
            "app@sha256:xyz",
            "app:",
            "/app",
            "a//b",
            "a/b:1/c",
            "host.io/",
            "sha256:ab12",
            "sha256:latest",
            "a:1;b:1",
            "a,b",
            "a:1,",
            "${A}:1",
            "a:b/c",
            "https://a.example.com/b",
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains("is not an image reference"), "{text}: {error}");
        }
    }

    #[test]
    fn a_whole_digest_has_hexadecimal_digits_in_lower_case_only() {
        for byte in 0..=127_u8 {
            for place in [0, 7, 8, 63] {
                let mut hex = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
                hex[place] = byte;
                let digest = format!("sha256:{}", str::from_utf8(&hex).unwrap());
                let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                assert_eq!(is_exact_digest(&digest), is_digit, "{digest:?}");
            }
        }
        assert!(!is_exact_digest(&format!("sha256:{}é", "a".repeat(62))));
    }

    #[test]
    fn what_can_name_no_image_of_ecr_is_refused() {
        for text in [
            "47e849b9dd1b",
            "47E849B",
            "-",
            "Shop/Web:ci-11",
            "shop/-web:ci-11",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/Shop/web:ci-11",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web_:ci-11",
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text}");
        }
        for text in ["decade", "facade1/web", "47e849b9dd1b:latest", "ghcr.io/Shop/web", "a__b/c--d.e_f:1"] {
            assert!(text.parse::<ImageReference>().is_ok(), "{text}");
        }
    }

    #[test]
    fn a_digest_alone_is_a_reference_and_a_shortened_one_is_none() {
        let hex = "Ab".repeat(32);
        let digest = format!("sha256:{}", hex.to_lowercase());
        for text in
            [format!("sha256:{hex}"), format!("docker://sha256:{hex}"), format!("SHA256:{hex}"), hex.clone()]
        {
            let bare = read(&text);
            assert!(bare.is_bare_digest());
            assert_eq!(bare.to_string(), digest);
            assert_eq!(read(&bare.to_string()), bare, "it is read again");
        }
        let pulled = read(&format!("docker-pullable://registry.example.com/app@sha256:{hex}"));
        assert_eq!(pulled.registry.as_deref(), Some("registry.example.com"));
        assert_eq!(pulled.digest.as_deref(), Some(&*digest), "upper case is read as lower case");
        let exact = ImageReference::parse_exact;
        assert!(exact(&format!("app@{digest}")).is_ok());
        for cut in ["app@sha256:ab12", "app:1@sha256:ab", "app@md5:ab"] {
            let error = exact(cut).unwrap_err().to_string();
            assert!(error.contains("cut off"), "{error}");
        }
    }

    #[test]
    fn what_tools_put_before_a_reference_is_left_out() {
        let name = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1";
        for prefix in ["", "https://", "docker-pullable://", "docker://", "oci://"] {
            assert_eq!(read(&format!("{prefix}{name}")), read(name), "{prefix}");
        }
        for (text, expected) in [
            ("https://hub.docker.com/r/library/nginx", "the address of a page"),
            ("arn:aws:ecr:eu-west-1:123456789012:repository/app", "an ARN"),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_region_of_a_registry_is_in_its_host() {
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
            "123456789012.dkr-ecr.eu-west-1.on.aws",
            "123456789012.dkr-ecr-fips.eu-west-1.on.aws",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn",
        ] {
            assert_eq!(read(&format!("{host}/app:1")).region(), Some("eu-west-1"), "{host}");
        }
        assert_eq!(read("registry.example.com/app:1").region(), None);
    }

    #[test]
    fn a_reference_names_images_of_its_own_registry_or_of_an_unknown_one() {
        let ours = read("123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1");
        assert!(ours.may_name(Some("app"), Some("123456789012")));
        assert!(!ours.may_name(Some("app"), Some("999999999999")));
        assert!(!ours.may_name(Some("other"), Some("123456789012")));
        assert!(read("mirror.example.com/app:1").may_name(Some("app"), Some("123456789012")));
        assert!(ours.may_name(None, None));
        assert!(ours.may_name(Some("app"), Some("")), "an empty id is unknown, and matches");
    }
}
