//! What stacks of AWS CloudFormation use: the images of Amazon ECR that their templates and parameters name. A rollback asks for
//! them, whether or not anything runs them now. Read where the policies file asks for it (`usage.stacks`).
//!
//! Templates are looked through as text, JSON or YAML, after pseudo parameters and parameters of the stack are put into them. What a
//! template computes from its resources is not known.

use std::collections::BTreeMap;

use super::source::{UsageSource, When};
use crate::domain::image::reference::ImageReference;

/// Stacks of AWS CloudFormation.
pub const SOURCE: UsageSource = UsageSource {
    name: "stacks",
    title: "CloudFormation stacks",
    service: None,
    actions: &["cloudformation:DescribeStacks", "cloudformation:GetTemplate"],
    blocks: true,
    when: When::OnceARun,
    calls: "1 for each page of stacks, and 1 for each stack that is not known",
};

/// A stack in the answer of `DescribeStacks`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// Its ARN.
    pub id: String,
    /// What it does or did last: `UPDATE_COMPLETE`.
    pub status: String,
    /// When it was updated last, or created.
    pub changed_at: String,
    /// The values of its parameters by their names.
    pub parameters: BTreeMap<String, String>,
}

/// What in the text of a template begins the host of a registry after its account.
const HOST: &str = ".dkr.ecr";

impl Stack {
    /// Whether there is a template: a stack that was only made for a change set has none.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.status != "REVIEW_IN_PROGRESS"
    }

    /// What names its present template for good.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{} {}", self.id, self.changed_at)
    }

    /// The images that the values of its parameters name.
    #[must_use]
    pub fn parameter_images(&self) -> Vec<String> {
        self.parameters.values().flat_map(|value| images(value)).collect()
    }

    /// The images that its template names.
    #[must_use]
    pub fn template_images(&self, template: &str) -> Vec<String> {
        let mut images = images(&self.resolved(template));
        images.sort();
        images.dedup();
        images
    }

    /// A template with the values of `${…}` that are known.
    fn resolved(&self, template: &str) -> String {
        let arn: Vec<&str> = self.id.split(':').collect();
        let of_arn = |place: usize| arn.get(place).copied().unwrap_or_default();
        let suffix = if of_arn(1) == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
        let mut resolved = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            resolved.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                resolved.push_str("${");
                rest = after;
                continue;
            };
            let value = match name {
                "AWS::AccountId" => Some(of_arn(4)),
                "AWS::Region" => Some(of_arn(3)),
                "AWS::Partition" => Some(of_arn(1)),
                "AWS::URLSuffix" => Some(suffix),
                name => self.parameters.get(name).map(String::as_str),
            };
            match value {
                Some(value) => resolved.push_str(value),
                // It ends a reference, which has none of these characters.
                None => resolved.push_str(&format!("${{{name}}}")),
            }
            rest = after;
        }
        resolved.push_str(rest);
        resolved
    }
}

/// The images of Amazon ECR that a text names, with an account's number before the host's name.
fn images(text: &str) -> Vec<String> {
    const ACCOUNT: usize = 12;
    let is_of_reference = |c: char| c.is_ascii_alphanumeric() || "._/:@-".contains(c);
    let mut images = Vec::new();
    for (at, _) in text.match_indices(HOST) {
        let Some(start) = at.checked_sub(ACCOUNT).filter(|start| text.is_char_boundary(*start)) else {
            continue;
        };
        let rest = &text[start..];
        let (named, after) = rest.split_at(rest.find(|c| !is_of_reference(c)).unwrap_or(rest.len()));
        // Of a name that goes on with something unknown neither the repository nor the tag is known.
        if after.starts_with("${") {
            continue;
        }
        let named = named.trim_end_matches(['.', ':', '/', '-', '@']);
        let reference = ImageReference::parse_exact(named);
        if reference.is_ok_and(|reference| reference.registry_id().is_some()) {
            images.push(named.to_owned());
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack() -> Stack {
        let parameters =
            [("Tag", "v7"), ("Image", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/web:v6"), ("Size", "2")];
        Stack {
            id: "arn:aws:cloudformation:eu-west-1:123456789012:stack/shop/1".to_owned(),
            status: "UPDATE_COMPLETE".to_owned(),
            changed_at: "2026-11-01T00:00:00Z".to_owned(),
            parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    #[test]
    fn a_stack_names_images_in_its_template_and_in_its_parameters() {
        const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let digest = format!("sha256:{}", "a".repeat(64));
        let template = format!(
            r#"{{"A": {{"Fn::Sub": "${{AWS::AccountId}}.dkr.ecr.${{AWS::Region}}.${{AWS::URLSuffix}}/cdk-assets-${{AWS::AccountId}}:0a1b"}},
            "B": "{HOST}/app@{digest}", "C": {{"Fn::Sub": "{HOST}/app:${{Tag}}"}}, "D": {{"Fn::Sub": "{HOST}/${{Repository}}:1"}},
            "E": "see {HOST}/app:1.2.", "F": "€€{HOST}"}}"#
        );
        let cdk = format!("{HOST}/cdk-assets-123456789012:0a1b");
        let expected =
            [format!("{HOST}/app:1.2"), format!("{HOST}/app:v7"), format!("{HOST}/app@{digest}"), cdk];
        assert_eq!(stack().template_images(&template), expected);
        assert_eq!(
            stack().template_images(&format!("Image: !Sub {HOST}/app:${{Tag}}\n")),
            [format!("{HOST}/app:v7")]
        );
        assert_eq!(stack().parameter_images(), [format!("{HOST}/web:v6")]);
        for text in
            ["", "${", "${AWS::AccountId", ".dkr.ecr", "€.dkr.ecr.x/y:1", "${A}.dkr.ecr.r.amazonaws.com/a:1"]
        {
            assert_eq!(stack().template_images(text), [""; 0], "{text}");
        }
    }
}
