//! The fixtures are what they claim to be.

use std::fs;

use shared::domain::image::ImageStatus;
use shared::domain::image::listing::Listing;
use tests::binaries::fixture;
use tests::storefront::{self, FILES, Pushed, digest, images};

fn listing(file: &str) -> Listing {
    Listing::parse(&fs::read_to_string(fixture(file)).unwrap()).unwrap()
}

#[test]
fn every_file_is_what_its_generator_makes() {
    for (name, text) in FILES {
        // No `assert_eq!`: nobody wants to read a quarter of a megabyte.
        let committed = fs::read_to_string(fixture(name)).unwrap();
        assert!(committed == text(), "{name} is out of date: cargo run -p tests --bin storefront");
    }
}

#[test]
fn the_storefront_has_what_a_real_repository_has() {
    let listing = listing("storefront/images.json");
    let [repository] = listing.repositories.as_slice() else { panic!("one repository") };
    assert_eq!(repository.name.repository_name.as_deref(), Some(storefront::REPOSITORY));
    let images = repository.images.images();
    let count = |status| images.iter().filter(|image| image.status == status).count();
    assert!(images.len() >= 300, "{}", images.len());
    assert!(images.iter().filter(|image| image.tags.is_empty()).count() > 50);
    assert!(count(ImageStatus::Archived) >= 3);
    assert_eq!(count(ImageStatus::Activating), 1);
    assert!(images.iter().any(|image| image.last_activated_at.is_some()));
    assert!(repository.images.unread_indexes().is_empty());
    assert!(repository.images.parents().len() > 80, "children of indexes");
    assert!(repository.images.subjects().len() > 30, "signatures and bills of materials");
}

#[test]
fn digests_are_those_of_the_manifests_and_a_tag_names_one_image() {
    let images = images();
    let mut digests: Vec<String> = images.iter().map(Pushed::digest).collect();
    digests.sort_unstable();
    assert!(digests.windows(2).all(|pair| pair[0] != pair[1]));

    let text = fs::read_to_string(fixture("storefront/images.json")).unwrap();
    let mut manifests = 0;
    for value in serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>() {
        for image in value.unwrap()["images"].as_array().into_iter().flatten() {
            let manifest = image["imageManifest"].as_str().unwrap();
            assert_eq!(image["imageId"]["imageDigest"], digest(manifest));
            manifests += 1;
        }
    }
    assert_eq!(manifests, images.iter().filter(|image| image.is_index()).count());

    let listing = listing("storefront/images.json");
    let mut tags: Vec<&str> = listing.repositories[0]
        .images
        .images()
        .iter()
        .flat_map(|image| &image.tags)
        .map(AsRef::as_ref)
        .collect();
    tags.sort_unstable();
    assert!(tags.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_spellings_of_a_listing_hold_the_same_images() {
    let pages = listing("listings/pages.json");
    assert!(!pages.incomplete);
    for other in ["listings/cli-v1.json", "listings/array.json"] {
        let other = listing(other);
        assert_eq!(other.repositories[0].images.images(), pages.repositories[0].images.images());
    }
    assert_eq!(listing("listings/two-repositories.json").repositories.len(), 2);
}
