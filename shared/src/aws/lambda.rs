//! AWS Lambda: which images functions run, and the invocation of a function of this stack.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Connection;
use super::error::{AwsError, Failure};
use super::pages::Pages;
use crate::aws::sigv4::{Answered, Service, Unsigned, encoded};
use crate::domain::usage::lambda::{FunctionCode, FunctionVersion};

/// The functions of one region.
#[derive(Debug)]
pub struct Lambda {
    service: Service,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    functions: Vec<FunctionVersion>,
    next_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Function {
    code: FunctionCode,
}

impl Lambda {
    pub(super) fn new(connection: &Connection) -> Self {
        Self { service: Service::new("lambda", "LAMBDA", connection) }
    }

    /// All versions of all functions that are images, `$LATEST` among them.
    ///
    /// # Errors
    ///
    /// Any error of Lambda.
    pub async fn image_versions(&self) -> Result<Vec<FunctionVersion>, AwsError> {
        let mut versions = Vec::new();
        let mut query = "?FunctionVersion=ALL&MaxItems=50".to_owned();
        // As AWS's SDKs, which take an empty marker for the end.
        let mut pages = Pages::ending_empty("ListFunctions");
        loop {
            let page: Option<Page> = self.get("ListFunctions", &query).await?;
            let Some(page) = page else {
                return Err(AwsError::unexpected_response("ListFunctions", "there is no such list"));
            };
            versions.extend(page.functions.into_iter().filter(FunctionVersion::is_image));
            pages.follow(page.next_marker)?;
            let Some(marker) = pages.token() else { return Ok(versions) };
            query = format!("?FunctionVersion=ALL&MaxItems=50&Marker={}", encoded(marker));
        }
    }

    /// The image of a version; `None` when it is deleted.
    ///
    /// # Errors
    ///
    /// Any error of Lambda.
    pub async fn code(&self, version: &FunctionVersion) -> Result<Option<FunctionCode>, AwsError> {
        let name = encoded(&version.function_name);
        let path = format!("{name}?Qualifier={}", encoded(&version.version));
        let function: Option<Function> = self.get("GetFunction", &path).await?;
        Ok(function.map(|function| function.code))
    }

    /// Invokes a function of this stack asynchronously. What cannot be done at once is tried again
    /// by Lambda.
    ///
    /// # Errors
    ///
    /// Any error of Lambda.
    pub async fn invoke(&self, function_name: &str, payload: &str) -> Result<(), AwsError> {
        const OPERATION: &str = "Invoke";
        let name = encoded(function_name);
        let path = format!("/2015-03-31/functions/{name}/invocations");
        let headers = [("content-type", "application/json"), ("x-amz-invocation-type", "Event")];
        let request =
            Unsigned { operation: OPERATION, method: "POST", path: &path, headers: &headers, body: payload };
        let answered = self.service.send(request, |answered| refused(OPERATION, answered)).await?;
        if answered.status == 404 {
            let failure = Failure::NotFound;
            return Err(AwsError {
                failure,
                ..AwsError::unexpected_response(OPERATION, &format!("there is no function {function_name}"))
            });
        }
        Ok(())
    }

    /// `None` when there is no such thing.
    async fn get<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        path: &str,
    ) -> Result<Option<T>, AwsError> {
        let path = format!("/2015-03-31/functions/{path}");
        let request = Unsigned { operation, method: "GET", path: &path, headers: &[], body: "" };
        let answered = self.service.send(request, |answered| refused(operation, answered)).await?;
        if answered.status == 404 {
            return Ok(None);
        }
        serde_json::from_slice(&answered.body).map(Some).map_err(|error| {
            AwsError::unexpected_response(operation, &format!("the answer is unreadable: {error}"))
        })
    }
}

/// Why an answer is none. Lambda has the kind of an error in a header.
fn refused(operation: &'static str, answered: &Answered) -> Option<AwsError> {
    if answered.status < 300 || answered.status == 404 {
        return None;
    }
    let kind = answered.header("x-amzn-errortype").unwrap_or_default();
    let code = kind.split(':').next().unwrap_or_default();
    let error = crate::aws::sigv4::refused(operation, answered)?;
    match Failure::of_code(code) {
        Failure::Unexpected if answered.status == 403 => Some(AwsError { failure: Failure::Denied, ..error }),
        Failure::Unexpected => Some(error),
        failure => Some(AwsError { failure, ..error }),
    }
}
