//! The least program that does what previewing needs: lists the repositories, describes their images, eight repositories at the same
//! time, and decides by age. `benches/peers.rs` compares with it. It calls the same SDK, and has none of what is around it here.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::{BehaviorVersion, Config, Credentials, Region};
use aws_smithy_async::rt::sleep::TokioSleep;
use futures_util::stream::{self, StreamExt};

/// Images that are older expire.
const DAYS: i64 = 90;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "minimal"))
        .endpoint_url(std::env::var("AWS_ENDPOINT_URL").unwrap())
        .sleep_impl(TokioSleep::new())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let mut names = Vec::new();
    let mut token = None;
    loop {
        let page =
            client.describe_repositories().max_results(1000).set_next_token(token).send().await.unwrap();
        names.extend(page.repositories.unwrap_or_default().into_iter().filter_map(|one| one.repository_name));
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let client = &client;
    let counts = stream::iter(names).map(|name| async move {
        let (mut old, mut all, mut token) = (0, 0, None);
        loop {
            let request = client.describe_images().repository_name(&name).max_results(1000);
            let page = request.set_next_token(token).send().await.unwrap();
            for image in page.image_details.unwrap_or_default() {
                all += 1;
                old += usize::from(image.image_pushed_at.is_some_and(|at| at.secs() < now - DAYS * 86_400));
            }
            token = page.next_token;
            if token.is_none() {
                return (old, all);
            }
        }
    });
    let total = |(old, all): (usize, usize), one: (usize, usize)| (old + one.0, all + one.1);
    let (old, all) = counts.buffer_unordered(8).fold((0, 0), |sum, one| async move { total(sum, one) }).await;
    println!("{old} of {all} images are older than {DAYS} days");
}
