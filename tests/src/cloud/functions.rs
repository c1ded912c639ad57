//! AWS Lambda: functions and their images.

use serde_json::{Value, json};

use crate::http::{Request, Response};

/// Functions whose code is an image, and others.
#[derive(Debug, Default)]
pub struct Lambda {
    versions: Vec<(Value, Value)>,
    /// The largest page, for lists that have several.
    pub page: usize,
}

impl Lambda {
    /// Adds a version of a function. Lambda resolves the name of an image once.
    pub fn add(&mut self, name: &str, version: &str, image: &str, resolved: &str) {
        let arn = format!("arn:aws:lambda:eu-west-1:123456789012:function:{name}:{version}");
        let configuration = json!({ "FunctionName": name, "FunctionArn": arn, "Version": version,
            "PackageType": "Image", "CodeSha256": resolved, "RevisionId": format!("{}", self.versions.len()) });
        let code = json!({ "RepositoryType": "ECR", "ImageUri": image, "ResolvedImageUri": resolved });
        self.versions.push((configuration, code));
    }

    /// Adds a version of a function whose image Lambda does not report.
    pub fn add_without_image(&mut self, name: &str, version: &str) {
        self.add(name, version, "", "");
        if let Some((_, code)) = self.versions.last_mut() {
            *code = json!({ "RepositoryType": "ECR" });
        }
    }

    /// Adds a function whose code is no image.
    pub fn add_zip(&mut self, name: &str) {
        let configuration = json!({ "FunctionName": name, "FunctionArn": format!("arn:{name}:$LATEST"),
            "Version": "$LATEST", "PackageType": "Zip", "CodeSha256": "zip" });
        self.versions.push((configuration, json!({ "RepositoryType": "S3" })));
    }

    /// There are none any more.
    pub fn remove_all(&mut self) {
        self.versions.clear();
    }

    pub(super) fn answer(&self, request: &Request) -> Response {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let parameter = |name: &str| {
            query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        };
        let value = |name: &str| parameter(name).map(|(_, value)| super::decoded(value));
        let name = path.trim_start_matches("/2015-03-31/functions/");
        if name.is_empty() {
            assert_eq!(value("FunctionVersion").as_deref(), Some("ALL"));
            let most: usize = value("MaxItems").map_or(50, |most| most.parse().unwrap()).min(50);
            let size = if self.page == 0 { most } else { most.min(self.page) };
            let start: usize = value("Marker").map_or(0, |marker| marker.parse().unwrap());
            let end = self.versions.len().min(start + size);
            let page: Vec<&Value> = self.versions[start..end].iter().map(|(version, _)| version).collect();
            let mut answer = json!({ "Functions": page });
            if end < self.versions.len() {
                answer["NextMarker"] = end.to_string().into();
            }
            return json_response(200, &answer, None);
        }
        let version = value("Qualifier").unwrap_or_else(|| "$LATEST".to_owned());
        let found = self.versions.iter().find(|(configuration, _)| {
            configuration["FunctionName"] == name && configuration["Version"] == version
        });
        match found {
            Some((configuration, code)) => {
                json_response(200, &json!({ "Configuration": configuration, "Code": code }), None)
            }
            None => {
                let error =
                    json!({ "Type": "User", "Message": format!("Function not found: {name}:{version}") });
                json_response(404, &error, Some("ResourceNotFoundException"))
            }
        }
    }
}

fn json_response(status: u16, body: &Value, kind: Option<&str>) -> Response {
    let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    headers.extend(kind.map(|kind| ("x-amzn-ErrorType".to_owned(), kind.to_owned())));
    Response { status, headers, body: body.to_string().into_bytes() }
}
