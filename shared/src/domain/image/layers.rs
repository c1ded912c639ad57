//! The layers of a repository's images: how many bytes they take when each is counted once.
//!
//! ECR stores a layer once for a repository, however many of its images have it, and `imageSizeInBytes` counts it for each of them. So
//! the size of a repository, and what a deletion frees, follow from manifests only.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Image, ImageStatus};

/// Maximum number of layers of images that are remembered for a repository, each as often as images have it: some megabytes of text.
/// What is beyond stays an upper bound.
pub const MAX_REFERENCES: usize = 500_000;

/// The version of the format in which layers are remembered.
const FORMAT_VERSION: u32 = 1;

/// The first 16 bytes of the hash of a layer's digest: as good as the digest, and a third of its length.
type LayerId = [u8; 16];

/// Bytes that layers take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct LayerBytes {
    /// Bytes. Each layer of a repository is counted once, unless this is an upper bound.
    pub bytes: u64,
    /// Whether it may be less: it is not known of all images which layers they have, and layers may be counted more than once.
    pub is_upper_bound: bool,
}

impl LayerBytes {
    /// An upper bound.
    #[must_use]
    pub const fn at_most(bytes: u64) -> Self {
        // Of nothing, nothing is counted twice.
        Self { bytes, is_upper_bound: bytes > 0 }
    }

    /// Adds the bytes of other layers.
    pub const fn extend(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.is_upper_bound |= other.is_upper_bound;
    }

    /// The sum of two.
    #[must_use]
    pub const fn and(mut self, other: Self) -> Self {
        self.extend(other);
        self
    }

    /// The bytes that are freed, where `after` is stored after images were deleted. An upper bound if this is one: images whose layers
    /// are not known may have the same layers.
    #[must_use]
    pub const fn without(self, after: Self) -> Self {
        let bytes = self.bytes.saturating_sub(after.bytes);
        Self { bytes, is_upper_bound: self.is_upper_bound && bytes > 0 }
    }
}

/// Where an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// In the standard storage class.
    Standard,
    /// In the archive.
    Archive,
    /// Nowhere: it is deleted.
    Gone,
}

impl Location {
    /// Where an image is now.
    #[must_use]
    pub const fn of(image: &Image) -> Self {
        match image.status {
            ImageStatus::Archived => Self::Archive,
            ImageStatus::Active | ImageStatus::Activating | ImageStatus::Unknown => Self::Standard,
        }
    }
}

/// The bytes of a repository in each storage class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredBytes {
    /// In the standard storage class.
    pub standard: LayerBytes,
    /// In the archive. Layers of images in both classes are counted in both, which is an upper bound: AWS does not say how they are
    /// billed.
    pub archive: LayerBytes,
}

impl StoredBytes {
    /// In both classes together.
    #[must_use]
    pub const fn total(self) -> LayerBytes {
        self.standard.and(self.archive)
    }
}

/// Why the layers of an image are not known, although there is a manifest.
#[derive(Debug, thiserror::Error)]
pub enum UnknownLayers {
    /// It is no manifest, or lacks a size.
    #[error("it is no manifest with the sizes of its layers: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It has neither a configuration nor layers.
    #[error("it says nothing of layers")]
    NoLayers,
    /// The repository has more layers than are remembered.
    #[error("the images of the repository have more than {MAX_REFERENCES} layers together")]
    TooMany,
}

/// Why what was remembered of layers is not used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLayers {
    /// It is no JSON of this shape.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Another version of this program wrote it.
    #[error("it has the format {0}, and this version writes {FORMAT_VERSION}")]
    Format(u32),
    /// It names a layer that it does not have.
    #[error("an image has a layer that is not listed")]
    Layer,
    /// It is larger than this program writes it.
    #[error("it has more than {MAX_REFERENCES} layers")]
    TooMany,
}

/// The layers of images of one repository, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layers {
    layers: Vec<(LayerId, u64)>,
    places: HashMap<LayerId, u32>,
    /// By the digest of the image; `None` for one whose manifest tells nothing.
    images: BTreeMap<Box<str>, Option<Box<[u32]>>>,
    references: usize,
}

/// How layers are remembered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Remembered {
    format_version: u32,
    /// The id of each layer in hexadecimal, and its size.
    layers: Vec<(String, u64)>,
    images: BTreeMap<Box<str>, Option<Box<[u32]>>>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Blob>,
    layers: Option<Vec<Blob>>,
    /// Of an index, which has no layers of its own.
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    digest: String,
    size: u64,
    #[serde(default)]
    media_type: String,
}

impl Blob {
    /// Whether registries do not store it.
    fn is_foreign(&self) -> bool {
        self.media_type.contains("foreign") || self.media_type.contains("nondistributable")
    }
}

impl Layers {
    /// Reads what was remembered.
    ///
    /// # Errors
    ///
    /// If it is not what [`Layers::to_json`] writes. Others may write to the bucket.
    pub fn parse(text: &str) -> Result<Self, InvalidLayers> {
        let Remembered { format_version, layers, images } = serde_json::from_str(text)?;
        if format_version != FORMAT_VERSION {
            return Err(InvalidLayers::Format(format_version));
        }
        let mut read = Self::default();
        for (id, size) in layers {
            let id = u128::from_str_radix(&id, 16).map_err(|_| InvalidLayers::Layer)?.to_be_bytes();
            let place = u32::try_from(read.layers.len()).map_err(|_| InvalidLayers::TooMany)?;
            read.layers.push((id, size));
            read.places.insert(id, place);
        }
        let all = images.values().flatten().flat_map(|layers| layers.iter());
        for &place in all {
            read.references += 1;
            if place as usize >= read.layers.len() {
                return Err(InvalidLayers::Layer);
            }
        }
        if read.references > MAX_REFERENCES || read.layers.len() > MAX_REFERENCES {
            return Err(InvalidLayers::TooMany);
        }
        read.images = images;
        Ok(read)
    }

    /// What is remembered: only layers that an image has.
    ///
    /// # Errors
    ///
    /// If it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut places: HashMap<u32, u32> = HashMap::new();
        let mut layers = Vec::new();
        let mut images = BTreeMap::new();
        for (digest, of_image) in &self.images {
            let of_image = of_image.as_ref().map(|of_image| {
                of_image
                    .iter()
                    .filter_map(|place| {
                        let &(id, size) = self.layers.get(*place as usize)?;
                        Some(*places.entry(*place).or_insert_with(|| {
                            layers.push((format!("{:032x}", u128::from_be_bytes(id)), size));
                            u32::try_from(layers.len() - 1).unwrap_or(u32::MAX)
                        }))
                    })
                    .collect::<Box<[u32]>>()
            });
            images.insert(digest.clone(), of_image);
        }
        serde_json::to_string(&Remembered { format_version: FORMAT_VERSION, layers, images })
    }

    /// The number of images of which something is remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.images.len()
    }

    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty()
    }

    /// Forgets images that are not there any more; gives their number.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> usize {
        let before = self.images.len();
        self.images.retain(|digest, _| is_there(digest));
        self.references = self.images.values().flatten().map(|layers| layers.len()).sum();
        before - self.images.len()
    }

    /// The images whose manifest has to be read to know their layers, the largest first. An image index has no layers of its own,
    /// and ECR does not give the manifests of archived images.
    #[must_use]
    pub fn unread<'i>(&self, images: &'i [Image]) -> Vec<&'i Image> {
        let mut unread: Vec<&Image> = images
            .iter()
            .filter(|image| !image.kind.is_index() && image.status == ImageStatus::Active)
            .filter(|image| !self.images.contains_key(&image.digest))
            .collect();
        unread.sort_by(|one, two| {
            two.size_in_bytes.cmp(&one.size_in_bytes).then_with(|| one.digest.cmp(&two.digest))
        });
        unread
    }

    /// Learns the layers of an image from its manifest: its configuration and its layers, without those that registries do not
    /// store.
    ///
    /// # Errors
    ///
    /// If the manifest does not tell them. That is remembered too: a manifest does not change.
    pub fn learn(&mut self, digest: &str, manifest: &str) -> Result<(), UnknownLayers> {
        let blobs = match blobs(manifest) {
            Ok(blobs) => blobs,
            Err(error) => {
                self.images.insert(digest.into(), None);
                return Err(error);
            }
        };
        if self.references + blobs.len() > MAX_REFERENCES || self.layers.len() + blobs.len() > MAX_REFERENCES
        {
            return Err(UnknownLayers::TooMany);
        }
        let mut of_image = Vec::with_capacity(blobs.len());
        for Blob { digest, size, .. } in blobs {
            let id = layer_id(&digest);
            let next = u32::try_from(self.layers.len()).map_err(|_| UnknownLayers::TooMany)?;
            let place = *self.places.entry(id).or_insert(next);
            match self.layers.get_mut(place as usize) {
                // A layer has one size. Where manifests differ, one is wrong.
                Some((_, known)) => *known = size.max(*known),
                None => self.layers.push((id, size)),
            }
            of_image.push(place);
        }
        of_image.sort_unstable();
        of_image.dedup();
        self.references += of_image.len();
        self.images.insert(digest.into(), Some(of_image.into_boxed_slice()));
        Ok(())
    }

    /// The bytes of images, when each of them is where `class` says. An image whose layers are not known counts with its size.
    pub fn stored<'i>(
        &self,
        images: impl IntoIterator<Item = &'i Image>,
        class: impl Fn(usize, &Image) -> Location,
    ) -> StoredBytes {
        let mut stored = StoredBytes::default();
        let mut is_standard = vec![false; self.layers.len()];
        let mut is_archived = vec![false; self.layers.len()];
        for (at, image) in images.into_iter().enumerate() {
            let (bytes, is_there) = match class(at, image) {
                Location::Standard => (&mut stored.standard, &mut is_standard),
                Location::Archive => (&mut stored.archive, &mut is_archived),
                Location::Gone => continue,
            };
            match self.images.get(&image.digest) {
                // Its children are images of the repository.
                _ if image.kind.is_index() => {}
                Some(Some(layers)) => {
                    for place in layers {
                        let Some(is_there) = is_there.get_mut(*place as usize) else { continue };
                        if !std::mem::replace(is_there, true) {
                            let size = self.layers.get(*place as usize).map_or(0, |(_, size)| *size);
                            bytes.bytes = bytes.bytes.saturating_add(size);
                        }
                    }
                }
                Some(None) | None => {
                    bytes.bytes = bytes.bytes.saturating_add(image.size_in_bytes);
                    bytes.is_upper_bound = true;
                }
            }
        }
        stored.archive.is_upper_bound |=
            is_standard.iter().zip(&is_archived).any(|(standard, archived)| *standard && *archived);
        stored
    }

    /// The number of images whose layers are not known, so that they count with their sizes.
    #[must_use]
    pub fn unknown(&self, images: &[Image]) -> u64 {
        let is_unknown = |image: &&Image| {
            !image.kind.is_index() && !matches!(self.images.get(&image.digest), Some(Some(_)))
        };
        images.iter().filter(is_unknown).count() as u64
    }
}

/// The blobs of a manifest, each once.
fn blobs(manifest: &str) -> Result<Vec<Blob>, UnknownLayers> {
    let Manifest { config, layers, manifests } = serde_json::from_str(manifest)?;
    if config.is_none() && layers.is_none() && manifests.is_none() {
        return Err(UnknownLayers::NoLayers);
    }
    let blobs = config.into_iter().chain(layers.into_iter().flatten());
    Ok(blobs.filter(|blob| !blob.is_foreign()).collect())
}

fn layer_id(digest: &str) -> LayerId {
    let hash = Sha256::digest(digest.as_bytes());
    let mut id = LayerId::default();
    id.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ManifestKind;
    use crate::domain::text::instant::Instant;

    fn image(digest: &str, size_in_bytes: u64) -> Image {
        Image {
            digest: digest.into(),
            tags: Box::default(),
            pushed_at: Instant::parse("2026-11-26T00:00:00Z").unwrap(),
            last_pulled_at: None,
            last_archived_at: None,
            last_activated_at: None,
            size_in_bytes,
            status: ImageStatus::Active,
            kind: ManifestKind::Manifest,
        }
    }

    fn manifest(layers: &[(&str, u64)]) -> String {
        let layers: Vec<_> = layers
            .iter()
            .map(|(digest, size)| serde_json::json!({ "digest": digest, "size": size }))
            .collect();
        serde_json::json!({ "config": { "digest": "sha256:c", "size": 1 }, "layers": layers }).to_string()
    }

    fn here(_: usize, image: &Image) -> Location {
        Location::of(image)
    }

    #[test]
    fn a_layer_of_several_images_counts_once() {
        let mut layers = Layers::default();
        layers.learn("sha256:1", &manifest(&[("sha256:base", 100), ("sha256:one", 10)])).unwrap();
        layers.learn("sha256:2", &manifest(&[("sha256:base", 100), ("sha256:two", 20)])).unwrap();
        let images = [image("sha256:1", 111), image("sha256:2", 121)];
        let all = layers.stored(&images, here).total();
        assert_eq!(all, LayerBytes { bytes: 131, is_upper_bound: false });
        let without_first = |at, image: &Image| if at == 0 { Location::Gone } else { here(at, image) };
        let freed = all.without(layers.stored(&images, without_first).total());
        assert_eq!(freed, LayerBytes { bytes: 10, is_upper_bound: false }, "the other has the base");
    }

    #[test]
    fn an_image_whose_manifest_was_not_read_makes_an_upper_bound() {
        let mut layers = Layers::default();
        layers.learn("sha256:1", &manifest(&[("sha256:base", 100)])).unwrap();
        let images = [image("sha256:1", 101), image("sha256:2", 500)];
        assert_eq!(
            layers.unread(&images).iter().map(|image| &*image.digest).collect::<Vec<_>>(),
            ["sha256:2"]
        );
        let all = layers.stored(&images, here).total();
        assert_eq!(all, LayerBytes { bytes: 601, is_upper_bound: true });
        let without_first = |at, image: &Image| if at == 0 { Location::Gone } else { here(at, image) };
        let freed = all.without(layers.stored(&images, without_first).total());
        assert_eq!(freed, LayerBytes { bytes: 101, is_upper_bound: true }, "the other may have the base");
        assert_eq!(all.without(all), LayerBytes::default(), "nothing went");
        assert_eq!(layers.unknown(&images), 1);
    }

    #[test]
    fn a_manifest_without_sizes_is_not_read_again_and_never_exact() {
        for text in [
            "no JSON",
            "{}",
            r#"{"config":{"digest":"sha256:c"}}"#,
            r#"{"layers":[{"digest":"a","size":-1}]}"#,
        ] {
            let mut layers = Layers::default();
            assert!(layers.learn("sha256:1", text).is_err(), "{text}");
            let images = [image("sha256:1", 7)];
            assert!(layers.unread(&images).is_empty());
            assert_eq!(layers.stored(&images, here).total(), LayerBytes { bytes: 7, is_upper_bound: true });
        }
    }

    #[test]
    fn an_index_and_layers_that_registries_do_not_store_take_nothing() {
        let mut layers = Layers::default();
        let foreign = r#"{"layers":[{"digest":"a","size":5,"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
            {"digest":"b","size":2}]}"#;
        layers.learn("sha256:1", foreign).unwrap();
        for kind in [ManifestKind::Index, ManifestKind::DockerIndex] {
            let index = Image { kind, ..image("sha256:1d", 1000) };
            let images = [image("sha256:1", 7), index];
            assert!(layers.unread(&images).is_empty());
            assert_eq!(layers.stored(&images, here).total(), LayerBytes { bytes: 2, is_upper_bound: false });
        }
    }

    #[test]
    fn a_layer_in_both_storage_classes_makes_the_archive_an_upper_bound() {
        let mut layers = Layers::default();
        layers.learn("sha256:1", &manifest(&[("sha256:base", 100)])).unwrap();
        layers.learn("sha256:2", &manifest(&[("sha256:base", 100)])).unwrap();
        let archived = Image { status: ImageStatus::Archived, ..image("sha256:2", 101) };
        let images = [image("sha256:1", 101), archived];
        let stored = layers.stored(&images, here);
        assert_eq!(stored.standard, LayerBytes { bytes: 101, is_upper_bound: false });
        assert_eq!(stored.archive, LayerBytes { bytes: 101, is_upper_bound: true });
    }

    #[test]
    fn what_is_remembered_is_what_was_learnt_without_what_went() {
        let mut layers = Layers::default();
        layers.learn("sha256:1", &manifest(&[("sha256:base", 100), ("sha256:one", 10)])).unwrap();
        layers.learn("sha256:2", &manifest(&[("sha256:base", 100), ("sha256:two", 20)])).unwrap();
        layers.learn("sha256:3", "{}").unwrap_err();
        assert_eq!(layers.retain(|digest| digest != "sha256:1"), 1);
        let text = layers.to_json().unwrap();
        let again = Layers::parse(&text).unwrap();
        assert_eq!(again.to_json().unwrap(), text);
        let images = [image("sha256:2", 121), image("sha256:3", 1)];
        assert_eq!(again.stored(&images, here), layers.stored(&images, here));
        assert_eq!((again.len(), again.layers.len()), (2, 3), "the layer of the first is forgotten");
    }

    #[test]
    fn what_somebody_else_wrote_is_not_believed() {
        for text in [
            "",
            r#"{"formatVersion":2,"layers":[],"images":{}}"#,
            r#"{"formatVersion":1,"layers":[["0",1]],"images":{"sha256:1":[1]}}"#,
            r#"{"formatVersion":1,"layers":[["no hexadecimal",1]],"images":{}}"#,
        ] {
            assert!(Layers::parse(text).is_err(), "{text}");
        }
    }
}
