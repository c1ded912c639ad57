//! Pagination. Every list of AWS in pages is followed with [`Pages`], so that none of them is read for ever, or ends too early
//! without a word.

use std::collections::HashSet;

use super::error::AwsError;

/// The tokens of one list, from page to page.
///
/// A token that comes a second time leads in a circle: a call that never ends uses up the quota of the account. The AWS CLI gives
/// up there, too ("The same next token was received twice").
#[derive(Debug)]
pub struct Pages {
    operation: &'static str,
    empty_ends: bool,
    token: Option<String>,
    seen: HashSet<String>,
}

impl Pages {
    /// The first page of a list. An empty token is an error: it is neither the end nor a place to read on from, and what is
    /// missing could be what matters.
    #[must_use]
    pub fn new(operation: &'static str) -> Self {
        Self { operation, empty_ends: false, token: None, seen: HashSet::new() }
    }

    /// The first page of a list whose last page may have an empty token, as AWS documents of the Resource Groups Tagging API, and
    /// as AWS's SDKs read other services.
    #[must_use]
    pub fn ending_empty(operation: &'static str) -> Self {
        Self { empty_ends: true, ..Self::new(operation) }
    }

    /// Continues from a token of an earlier call.
    #[must_use]
    pub fn after(mut self, token: Option<String>) -> Self {
        self.seen.extend(token.clone());
        self.token = token;
        self
    }

    /// The token to request the next page with; `None` for the first page.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Takes the token of an answer, and gives whether there is another page.
    ///
    /// # Errors
    ///
    /// When the token is empty, or came before.
    pub fn follow(&mut self, next: Option<String>) -> Result<bool, AwsError> {
        let problem = match next {
            None => None,
            Some(token) if token.is_empty() && self.empty_ends => None,
            Some(token) if token.is_empty() => {
                Some("a page has an empty token, so that the list cannot be read on")
            }
            Some(token) if !self.seen.insert(token.clone()) => {
                Some("the token of a page came twice, so that the list never ends")
            }
            Some(token) => {
                self.token = Some(token);
                return Ok(true);
            }
        };
        self.token = None;
        problem.map_or(Ok(false), |problem| Err(AwsError::unexpected_response(self.operation, problem)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_list_ends_where_no_token_comes() {
        let mut pages = Pages::new("ListImages");
        assert_eq!(pages.token(), None);
        assert_eq!(pages.follow(token("a")), Ok(true));
        assert_eq!(pages.token(), Some("a"));
        assert_eq!(pages.follow(token("b")), Ok(true));
        assert_eq!(pages.follow(None), Ok(false));
        assert_eq!(pages.token(), None);
    }

    #[test]
    fn a_token_that_comes_twice_or_is_empty_is_an_error_that_names_the_operation() {
        for tokens in [&["a", "a"][..], &["a", "b", "a"], &[""], &["a", ""]] {
            let mut pages = Pages::new("DescribeImages");
            let (last, before) = tokens.split_last().unwrap();
            for text in before {
                assert_eq!(pages.follow(token(text)), Ok(true));
            }
            let error = pages.follow(token(last)).unwrap_err();
            assert_eq!(error.operation, "DescribeImages", "{tokens:?}");
            assert_eq!(pages.token(), None);
        }
        let mut pages = Pages::new("DescribeRepositories").after(token("a"));
        assert_eq!(pages.token(), Some("a"));
        assert!(pages.follow(token("a")).is_err());
    }

    #[test]
    fn some_services_end_with_an_empty_token() {
        let mut pages = Pages::ending_empty("GetResources");
        assert_eq!(pages.follow(token("a")), Ok(true));
        assert_eq!(pages.follow(token("")), Ok(false));
        assert!(Pages::ending_empty("GetResources").after(token("a")).follow(token("a")).is_err());
    }
}
