//! Images as AWS prints them: `aws ecr describe-images`, and `aws ecr batch-get-image` for the manifests of indexes.
//!
//! A text may hold several JSON values one after another (pages, repositories, both commands), each an answer object,
//! a bare array of image details, or an array of any of these, as `jq -s` makes it. AWS's SDKs for Go and .NET spell fields with a
//! capital. A *snapshot* is one object with both lists: `imageDetails` and `images`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer};
use serde::de::{DeserializeSeed, IntoDeserializer as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::reference::is_exact_digest;
use super::{Image, ImageIndex, ImageStatus, ManifestKind, Relations, RepositoryImages};
use crate::domain::text::finding::{join_pointer, quoted};
use crate::domain::text::instant::Instant;
use crate::domain::text::plain_words;
use crate::domain::text::recognize::{self, Recognized, Wanted};
use crate::domain::text::syntax::{self, without_mark};

mod stream;

pub use stream::{ListingReader, UnreadableListing};

/// A parsed listing of images.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// The repositories in ascending order of their names.
    pub repositories: Vec<ListedRepository>,
    /// Whether the last page ends with a token: the registry has more images than the listing.
    pub incomplete: bool,
}

/// One repository of a listing.
#[derive(Debug, Clone, Default)]
pub struct ListedRepository {
    /// Which repository it is.
    pub name: RepositoryName,
    /// Its images.
    pub images: RepositoryImages,
}

/// The name of a repository, as far as the listing contains it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RepositoryName {
    /// `repositoryName`, with its slashes.
    pub repository_name: Option<String>,
    /// `registryId`: the account whose registry the repository is in.
    pub registry_id: Option<String>,
}

/// Why a text is not a listing of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidListing {
    /// There is no JSON value in the text.
    #[error("there is no image listing in it; expected is what `aws ecr describe-images` prints")]
    Empty,
    /// A value is not what AWS prints.
    #[error(transparent)]
    Unreadable(#[from] UnreadableJson),
    /// The manifest of an index is not a manifest.
    #[error(
        "the manifest of {digest} is unreadable: {problem}; expected is what `aws ecr batch-get-image` prints"
    )]
    Manifest {
        /// The image's digest.
        digest: String,
        /// The problem.
        problem: String,
    },
    /// The text is something else.
    #[error("{0}")]
    Other(Recognized),
    /// There are manifests, and no listing that says which images there are.
    #[error(
        "it has what `aws ecr batch-get-image` prints, and no `imageDetails`; put what `aws ecr describe-images` prints before it"
    )]
    NoDetails,
    /// An object without images in it.
    #[error(
        "value {number} of the text has neither `imageDetails` nor `images`; expected is what \
         `aws ecr describe-images` prints"
    )]
    NoImages {
        /// Which of the JSON values, from 1.
        number: usize,
    },
}

/// JSON that is not what is expected, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {}{problem}", if .pointer.is_empty() { String::new() } else { format!("{pointer}: ") })]
pub struct UnreadableJson {
    /// Line of the text, from 1.
    pub line: usize,
    /// Column of the line, from 1.
    pub column: usize,
    /// JSON pointer into the JSON value at that line.
    pub pointer: String,
    /// The problem.
    pub problem: String,
}

impl UnreadableJson {
    /// Describes why a `T` could not be read from `text`, which is part of `whole`, by reading it again with a record of the way
    /// there.
    pub(crate) fn explain<'a, T: Deserialize<'a>>(
        text: &'a str,
        whole: &str,
        error: &serde_json::Error,
    ) -> Self {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let pointer = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
            Ok(_) => String::new(),
            Err(failure) => failure.path().iter().fold(String::new(), |pointer, segment| match segment {
                serde_path_to_error::Segment::Seq { index } => join_pointer(&pointer, &index.to_string()),
                serde_path_to_error::Segment::Map { key } => join_pointer(&pointer, key),
                _ => pointer,
            }),
        };
        let (line, column, problem) = plain_words::json(whole, error);
        let problem = if error.is_data() { problem } else { format!("not JSON: {problem}") };
        Self { line, column, pointer, problem }
    }
}

impl Listing {
    /// Reads a listing from JSON text.
    ///
    /// # Errors
    ///
    /// At the first value that is not what AWS prints; nothing of the listing is used then.
    pub fn parse(text: &str) -> Result<Self, InvalidListing> {
        let mut builder = Builder::default();
        let mut values = 0;
        builder.take_values(without_mark(text), &mut values)?;
        builder.finish_listing(values)
    }

    /// A listing of one page. Images that do not say which repository they are in are in the one of `name`.
    ///
    /// # Errors
    ///
    /// When the manifest of an index is unreadable.
    pub(crate) fn of_page(name: RepositoryName, page: Page<'_>) -> Result<Self, InvalidListing> {
        let mut builder = Builder { default: name, ..Builder::default() };
        builder.take(page)?;
        Ok(builder.finish())
    }
}

/// Recognizes a text that is not a listing. Reads only as much of it as that needs.
fn recognized(text: &str) -> Option<InvalidListing> {
    /// Bytes of a text that are examined for being another kind of file. Other kinds of files are rarely large.
    const LOOKED_AT: usize = 4 * 1024 * 1024;
    let other = match syntax::parse_json(text.get(..LOOKED_AT).unwrap_or(text)) {
        Ok(node) => recognize::node(&node, Wanted::Images),
        Err(_) => recognize::text(text, Wanted::Images),
    };
    other.map(InvalidListing::Other)
}

/// Writes images as a snapshot: `DescribeImages`, and for image indexes the part of `BatchGetImage` that has their children.
/// [`Listing::parse`] reads it again.
#[must_use]
pub fn snapshot(name: &RepositoryName, images: &RepositoryImages) -> serde_json::Value {
    use serde_json::{Value, json};
    let all = images.images();
    let digest = |place: ImageIndex| all.get(place as usize).map_or("", |image| &*image.digest);
    let subjects: BTreeMap<ImageIndex, ImageIndex> = images.subjects().iter().copied().collect();
    let mut children: BTreeMap<ImageIndex, Vec<Value>> = BTreeMap::new();
    for &(child, index) in images.parents() {
        children.entry(index).or_default().push(json!({ "digest": digest(child) }));
    }
    let mut details = Vec::with_capacity(all.len());
    let mut manifests = Vec::new();
    for (place, image) in (0..).zip(all) {
        let mut detail = json!({
            "imageDigest": image.digest,
            "imageTags": image.tags,
            "imageSizeInBytes": image.size_in_bytes,
            "imagePushedAt": image.pushed_at,
        });
        let subject = subjects.get(&place).map(|subject| digest(*subject).to_owned());
        let texts = [
            ("registryId", name.registry_id.clone()),
            ("repositoryName", name.repository_name.clone()),
            ("imageStatus", Some(image.status.name().to_owned())),
            ("imageManifestMediaType", image.kind.media_type().map(str::to_owned)),
            ("subjectManifestDigest", subject),
            ("lastRecordedPullTime", image.last_pulled_at.map(|at| at.to_string())),
            ("lastArchivedAt", image.last_archived_at.map(|at| at.to_string())),
            ("lastActivatedAt", image.last_activated_at.map(|at| at.to_string())),
        ];
        for (field, value) in texts {
            if let Some(value) = value {
                detail[field] = value.into();
            }
        }
        details.push(detail);
        if image.kind.is_index() && !images.unread_indexes().contains(&place) {
            let listed = children.remove(&place).unwrap_or_default();
            manifests.push(json!({
                "repositoryName": name.repository_name,
                "imageId": { "imageDigest": image.digest },
                "imageManifest": json!({ "manifests": listed }).to_string(),
            }));
        }
    }
    json!({ "imageDetails": details, "images": manifests })
}

/// A string that borrows from the text where it can.
pub(crate) struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text)))
            }
        }

        deserializer.deserialize_str(TextVisitor)
    }
}

/// One answer of `DescribeImages` or `BatchGetImage`, or a bare array of image details. Fields that AWS adds in the
/// future are passed over.
#[derive(Default)]
pub(crate) struct Page<'a> {
    pub(crate) details: Option<Vec<ImageDetail<'a>>>,
    pub(crate) manifests: Option<Vec<ImageManifest<'a>>>,
    pub(crate) next_token: Option<Text<'a>>,
}

/// Declares a struct with the fields of an image, as the AWS CLI and AWS's SDKs spell them, and with further fields. The types of those
/// that every image has come first.
macro_rules! image_fields {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident<$lifetime:lifetime>($digest:ty, $pushed_at:ty) { $($more:tt)* }
    ) => {
        $(#[$attribute])*
        $visibility struct $name<$lifetime> {
            $($more)*
            #[serde(borrow, alias = "RegistryId")]
            registry_id: Option<Text<$lifetime>>,
            #[serde(borrow, alias = "RepositoryName")]
            repository_name: Option<Text<$lifetime>>,
            #[serde(borrow, alias = "ImageDigest")]
            image_digest: $digest,
            #[serde(borrow, alias = "ImageTags")]
            image_tags: Option<Vec<Text<$lifetime>>>,
            #[serde(alias = "ImageSizeInBytes")]
            image_size_in_bytes: Option<u64>,
            #[serde(alias = "ImagePushedAt")]
            image_pushed_at: $pushed_at,
            #[serde(borrow, alias = "ImageManifestMediaType")]
            image_manifest_media_type: Option<Text<$lifetime>>,
            #[serde(alias = "LastRecordedPullTime")]
            last_recorded_pull_time: Option<Instant>,
            #[serde(borrow, alias = "SubjectManifestDigest")]
            subject_manifest_digest: Option<WholeDigest<$lifetime>>,
            #[serde(borrow, alias = "ImageStatus")]
            image_status: Option<Word<$lifetime>>,
            #[serde(alias = "LastArchivedAt")]
            last_archived_at: Option<Instant>,
            #[serde(alias = "LastActivatedAt")]
            last_activated_at: Option<Instant>,
        }
    };
}

image_fields! {
    /// An image of `DescribeImages`.
    // Its own `Deserialize` looks at the names of all fields besides.
    #[derive(Deserialize)]
    #[serde(remote = "Self", rename_all = "camelCase")]
    pub(crate) struct ImageDetail<'a>(WholeDigest<'a>, Instant) {}
}

impl<'de: 'a, 'a> Deserialize<'de> for ImageDetail<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DetailVisitor;

        impl<'de> Visitor<'de> for DetailVisitor {
            type Value = ImageDetail<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an image as `aws ecr describe-images` prints it")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ImageDetail<'de>, A::Error> {
                let mut watched = Watched { map, misspelled: None };
                let detail = ImageDetail::deserialize(MapAccessDeserializer::new(&mut watched))?;
                detail.unless_misspelled(watched.misspelled)
            }
        }

        deserializer.deserialize_map(DetailVisitor)
    }
}

/// A digest that identifies an image. One that is cut off, or in capitals, would equal no other, so that an image in use, or the
/// child of an index, would not be found.
struct WholeDigest<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for WholeDigest<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        if is_exact_digest(&text.0) {
            return Ok(Self(text));
        }
        Err(serde::de::Error::custom(format_args!(
            "{} is no whole digest; write `sha256:` and 64 hexadecimal digits in lower case",
            quoted(&text.0)
        )))
    }
}

/// The fields of an image that this project reads.
const DETAIL_FIELDS: [&str; 12] = [
    "imageDigest",
    "imageTags",
    "imagePushedAt",
    "imageSizeInBytes",
    "registryId",
    "repositoryName",
    "imageManifestMediaType",
    "lastRecordedPullTime",
    "imageStatus",
    "subjectManifestDigest",
    "lastArchivedAt",
    "lastActivatedAt",
];

/// The field that an unknown name stands for: one that is spelled in another way, or that of tags. An image whose tags are under
/// another name would be judged as untagged, and one with another pull time as never pulled.
fn misspelled(key: &str) -> Option<&'static str> {
    // Nearly all are these, which costs less than a look at each name below.
    if matches!(
        key,
        "registryId"
            | "repositoryName"
            | "imageDigest"
            | "imageTags"
            | "imageSizeInBytes"
            | "imagePushedAt"
            | "imageManifestMediaType"
            | "artifactMediaType"
            | "imageScanStatus"
            | "imageScanFindingsSummary"
            | "lastRecordedPullTime"
            | "imageStatus"
            | "subjectManifestDigest"
    ) {
        return None;
    }
    // The SDKs for Go and .NET begin with a capital.
    let is = |field: &&str| match (key.as_bytes(), field.as_bytes()) {
        ([first, rest @ ..], [begin, others @ ..]) => first.eq_ignore_ascii_case(begin) && rest == others,
        _ => false,
    };
    if DETAIL_FIELDS.iter().any(is) {
        return None;
    }
    let letters: String =
        key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if ["tag", "tags", "taglist", "tagname", "tagnames"].iter().any(|end| letters.ends_with(end)) {
        return Some("imageTags");
    }
    DETAIL_FIELDS.into_iter().find(|field| field.eq_ignore_ascii_case(&letters))
}

/// A map that remembers the first field which has another name than AWS gives it.
struct Watched<A> {
    map: A,
    misspelled: Option<Misspelled>,
}

/// A field with a name that AWS does not give it, and the one that it has.
struct Misspelled {
    key: String,
    field: &'static str,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Watched<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.map.next_key::<Text<'de>>()? else { return Ok(None) };
        if self.misspelled.is_none()
            && let Some(field) = misspelled(&key.0)
        {
            self.misspelled = Some(Misspelled { key: key.0.clone().into_owned(), field });
        }
        match key.0 {
            Cow::Borrowed(key) => seed.deserialize(BorrowedStrDeserializer::new(key)),
            Cow::Owned(key) => seed.deserialize(key.into_deserializer()),
        }
        .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.map.size_hint()
    }
}

/// One of a service's words. The SDK for .NET writes it as `{"Value": "ACTIVE"}`.
struct Word<'a>(Text<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Word<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordVisitor;

        impl<'de> Visitor<'de> for WordVisitor {
            type Value = Word<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Word<'de>, E> {
                Ok(Word(Text(Cow::Borrowed(text))))
            }

            fn visit_str<E>(self, text: &str) -> Result<Word<'de>, E> {
                Ok(Word(Text(Cow::Owned(text.to_owned()))))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Word<'de>, A::Error> {
                #[derive(Deserialize)]
                struct Object<'a> {
                    #[serde(borrow, rename = "Value")]
                    value: Text<'a>,
                }
                Object::deserialize(MapAccessDeserializer::new(map)).map(|object| Word(object.value))
            }
        }

        deserializer.deserialize_any(WordVisitor)
    }
}

/// An element of an array: an image, or a page, or an array of these.
enum Element<'a> {
    Detail(Box<ImageDetail<'a>>),
    Page(Page<'a>),
}

image_fields! {
    /// All fields of an image and of a page: which of the two it is shows when they are read.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct AnyFields<'a>(Option<WholeDigest<'a>>, Option<Instant>) {
        #[serde(borrow, alias = "ImageDetails")]
        image_details: Option<Vec<ImageDetail<'a>>>,
        #[serde(borrow, alias = "Images")]
        images: Option<Vec<ImageManifest<'a>>>,
        // The AWS CLI's own paging spells it with a capital.
        #[serde(borrow, alias = "NextToken")]
        next_token: Option<Text<'a>>,
    }
}

impl<'de> AnyFields<'de> {
    /// Reads all fields, and finds one with a name that AWS does not give it.
    fn read<A: MapAccess<'de>>(map: A) -> Result<(Self, Option<Misspelled>), A::Error> {
        let mut watched = Watched { map, misspelled: None };
        let fields = Self::deserialize(MapAccessDeserializer::new(&mut watched))?;
        Ok((fields, watched.misspelled))
    }

    /// The fields as those of an image.
    fn into_detail<E: serde::de::Error>(self, misspelled: Option<Misspelled>) -> Result<ImageDetail<'de>, E> {
        let missing = <E as serde::de::Error>::missing_field;
        let detail = ImageDetail {
            image_digest: self.image_digest.ok_or_else(|| missing("imageDigest"))?,
            image_pushed_at: self.image_pushed_at.ok_or_else(|| missing("imagePushedAt"))?,
            registry_id: self.registry_id,
            repository_name: self.repository_name,
            image_tags: self.image_tags,
            image_size_in_bytes: self.image_size_in_bytes,
            image_manifest_media_type: self.image_manifest_media_type,
            last_recorded_pull_time: self.last_recorded_pull_time,
            subject_manifest_digest: self.subject_manifest_digest,
            image_status: self.image_status,
            last_archived_at: self.last_archived_at,
            last_activated_at: self.last_activated_at,
        };
        detail.unless_misspelled(misspelled)
    }
}

impl ImageDetail<'_> {
    /// The image, unless one of its fields has a name that AWS does not give it.
    fn unless_misspelled<E: serde::de::Error>(self, misspelled: Option<Misspelled>) -> Result<Self, E> {
        match misspelled {
            // Beside the tags themselves it is something that AWS has added.
            Some(Misspelled { field: "imageTags", .. }) if self.image_tags.is_some() => Ok(self),
            None => Ok(self),
            Some(Misspelled { key, field }) => Err(E::custom(format_args!(
                "{} is no field of an image; `aws ecr describe-images` calls it `{field}`",
                quoted(&key)
            ))),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Element<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;

        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an image as `aws ecr describe-images` prints it, or a page of them")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element<'de>, A::Error> {
                let (fields, misspelled) = AnyFields::read(map)?;
                if fields.image_details.is_some() || fields.images.is_some() {
                    return Ok(Element::Page(Page {
                        details: fields.image_details,
                        manifests: fields.images,
                        next_token: fields.next_token,
                    }));
                }
                Ok(Element::Detail(Box::new(fields.into_detail(misspelled)?)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Element<'de>, A::Error> {
                gather(seq).map(Element::Page)
            }
        }

        deserializer.deserialize_any(ElementVisitor)
    }
}

/// An array as one page: images, pages, and arrays of these.
fn gather<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<Page<'de>, A::Error> {
    let mut details = Vec::new();
    let mut page = Page::default();
    // An empty array is an empty listing.
    let mut has_details = true;
    let mut is_first = true;
    while let Some(element) = seq.next_element::<Element<'de>>()? {
        if std::mem::take(&mut is_first) {
            has_details = false;
        }
        match element {
            Element::Detail(detail) => {
                has_details = true;
                details.push(*detail);
            }
            Element::Page(inner) => {
                if let Some(inner_details) = inner.details {
                    has_details = true;
                    details.extend(inner_details);
                    // The token of an earlier page was followed by this one.
                    page.next_token = inner.next_token;
                }
                if let Some(manifests) = inner.manifests {
                    page.manifests.get_or_insert_default().extend(manifests);
                }
            }
        }
    }
    page.details = has_details.then_some(details);
    Ok(page)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest<'a> {
    #[serde(borrow, alias = "ImageId")]
    image_id: ImageId<'a>,
    #[serde(borrow, alias = "ImageManifest")]
    image_manifest: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageId<'a> {
    #[serde(borrow, alias = "ImageDigest")]
    image_digest: WholeDigest<'a>,
}

/// The parts of a manifest that relate it to others (OCI image specification: image index, `subject`).
#[derive(Deserialize)]
struct Manifest<'a> {
    #[serde(borrow)]
    manifests: Option<Vec<Descriptor<'a>>>,
    #[serde(borrow)]
    subject: Option<Descriptor<'a>>,
}

#[derive(Deserialize)]
struct Descriptor<'a> {
    #[serde(borrow)]
    digest: WholeDigest<'a>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Page<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PageVisitor;

        impl<'de> Visitor<'de> for PageVisitor {
            type Value = Page<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("what `aws ecr describe-images` prints")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Page<'de>, A::Error> {
                let (fields, misspelled) = AnyFields::read(map)?;
                // An image by itself, as `jq '.imageDetails[]'` prints them one after another.
                if fields.image_details.is_none() && fields.images.is_none() && fields.image_digest.is_some()
                {
                    return Ok(Page {
                        details: Some(vec![fields.into_detail(misspelled)?]),
                        ..Page::default()
                    });
                }
                Ok(Page {
                    details: fields.image_details,
                    manifests: fields.images,
                    next_token: fields.next_token,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Page<'de>, A::Error> {
                gather(seq)
            }
        }

        deserializer.deserialize_any(PageVisitor)
    }
}

#[derive(Default)]
struct Builder {
    /// The repository of images that do not name one.
    default: RepositoryName,
    /// The repository whose images are being read; most listings have one.
    current: RepositoryName,
    images: Vec<Image>,
    others: BTreeMap<RepositoryName, Vec<Image>>,
    relations: Relations,
    incomplete: bool,
    /// Whether the text contained a listing at all, even an empty one.
    has_details: bool,
}

impl Builder {
    /// Takes all JSON values of a text, and counts them.
    fn take_values(&mut self, text: &str, number: &mut usize) -> Result<(), InvalidListing> {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Page<'_>>();
        loop {
            let start = values.byte_offset();
            let Some(page) = values.next() else { return Ok(()) };
            *number += 1;
            match page {
                Ok(page) if page.details.is_none() && page.manifests.is_none() => {
                    let rest = text.get(start..values.byte_offset()).unwrap_or_default();
                    return Err(recognized(rest).unwrap_or(InvalidListing::NoImages { number: *number }));
                }
                Ok(page) => self.take(page)?,
                Err(error) => {
                    let rest = text.get(start..).unwrap_or_default();
                    let explain = || UnreadableJson::explain::<Page<'_>>(rest, text, &error).into();
                    return Err(recognized(rest).unwrap_or_else(explain));
                }
            }
        }
    }

    /// Ends the listing after a number of JSON values: without one it is empty.
    fn finish_listing(self, values: usize) -> Result<Listing, InvalidListing> {
        match values {
            0 => Err(InvalidListing::Empty),
            _ if !self.has_details => Err(InvalidListing::NoDetails),
            _ => Ok(self.finish()),
        }
    }

    fn take(&mut self, page: Page<'_>) -> Result<(), InvalidListing> {
        if let Some(details) = page.details {
            self.has_details = true;
            // The token of an earlier page was followed by this one.
            self.incomplete = page.next_token.is_some_and(|token| !token.0.is_empty());
            self.images.reserve(details.len());
            for detail in details {
                self.take_detail(detail);
            }
        }
        for manifest in page.manifests.into_iter().flatten() {
            self.take_manifest(&manifest)?;
        }
        Ok(())
    }

    fn take_detail(&mut self, detail: ImageDetail<'_>) {
        fn text_or<'a>(text: Option<&'a Text<'_>>, default: Option<&'a String>) -> Option<&'a str> {
            text.map(|text| &*text.0).or(default.map(String::as_str))
        }
        let repository = text_or(detail.repository_name.as_ref(), self.default.repository_name.as_ref());
        let registry = text_or(detail.registry_id.as_ref(), self.default.registry_id.as_ref());
        if self.current.repository_name.as_deref() != repository
            || self.current.registry_id.as_deref() != registry
        {
            let name = RepositoryName {
                repository_name: repository.map(str::to_owned),
                registry_id: registry.map(str::to_owned),
            };
            self.put_aside();
            self.images = self.others.remove(&name).unwrap_or_default();
            self.current = name;
        }
        if let Some(subject) = &detail.subject_manifest_digest {
            self.relations.refer(&detail.image_digest.0.0, &subject.0.0);
        }
        self.images.push(Image {
            digest: detail.image_digest.0.0.into(),
            tags: detail.image_tags.into_iter().flatten().map(|tag| tag.0.into()).collect(),
            pushed_at: detail.image_pushed_at,
            last_pulled_at: detail.last_recorded_pull_time,
            last_archived_at: detail.last_archived_at,
            last_activated_at: detail.last_activated_at,
            size_in_bytes: detail.image_size_in_bytes.unwrap_or_default(),
            // The SDK for Go writes an empty word for an absent one.
            status: ImageStatus::of_name(
                detail.image_status.as_ref().map(|status| &*status.0.0).filter(|status| !status.is_empty()),
            ),
            kind: detail
                .image_manifest_media_type
                .map_or(ManifestKind::Unknown, |media_type| ManifestKind::of_media_type(&media_type.0)),
        });
    }

    fn take_manifest(&mut self, image: &ImageManifest<'_>) -> Result<(), InvalidListing> {
        let digest = &*image.image_id.image_digest.0.0;
        let manifest: Manifest<'_> = serde_json::from_str(&image.image_manifest.0).map_err(|error| {
            let (_, _, problem) = plain_words::json(&image.image_manifest.0, &error);
            InvalidListing::Manifest { digest: digest.to_owned(), problem }
        })?;
        if let Some(children) = manifest.manifests {
            self.relations
                .index(digest, children.into_iter().map(|child| Box::<str>::from(child.digest.0.0)));
        }
        if let Some(subject) = manifest.subject {
            self.relations.refer(digest, &subject.digest.0.0);
        }
        Ok(())
    }

    fn put_aside(&mut self) {
        let images = std::mem::take(&mut self.images);
        if !images.is_empty() {
            self.others.insert(std::mem::take(&mut self.current), images);
        }
    }

    fn finish(mut self) -> Listing {
        self.put_aside();
        if self.others.is_empty() && self.default != RepositoryName::default() {
            self.others.insert(self.default, Vec::new());
        }
        let relations = self.relations;
        Listing {
            repositories: self
                .others
                .into_iter()
                .map(|(name, images)| ListedRepository {
                    name,
                    images: RepositoryImages::new(images, &relations),
                })
                .collect(),
            incomplete: self.incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short digests of a text, with zeros up to their whole length.
    fn whole(text: &str) -> String {
        let mut parts = text.split("sha256:");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
            let (digits, rest) = part.split_at(end);
            whole += &format!("sha256:{digits:0>64}{rest}");
        }
        whole
    }

    fn detail(repository: &str, digest: &str, more: &str) -> String {
        let (digest, more) = (whole(digest), whole(more));
        format!(
            r#"{{"repositoryName": "{repository}", "imageDigest": "{digest}", "imagePushedAt": 1700000000.0{more}}}"#
        )
    }

    #[test]
    fn a_snapshot_is_read_as_it_was() {
        let index = r#", "imageTags": ["v1", "latest"], "imageManifestMediaType": "application/vnd.oci.image.index.v1+json",
            "imageSizeInBytes": 7, "lastRecordedPullTime": 1710000000.5"#;
        let archived = r#", "imageStatus": "ARCHIVED", "lastArchivedAt": 1720000000"#;
        let text = [
            format!(
                r#"{{"imageDetails": [{}, {}, {}]}}"#,
                detail("b", "sha256:1d", index),
                detail("b", "sha256:c1", archived),
                detail("b", "sha256:51", r#", "subjectManifestDigest": "sha256:1d""#),
            ),
            whole(
                r#"{"images": [{"imageId": {"imageDigest": "sha256:1d"}, "repositoryName": "b",
                "imageManifest": "{\"manifests\": [{\"digest\": \"sha256:c1\"}]}"}]}"#,
            ),
        ];
        let before = Listing::parse(&text.join("\n")).unwrap().repositories.remove(0);
        let text = snapshot(&before.name, &before.images).to_string();
        let after = Listing::parse(&text).unwrap().repositories.remove(0);
        assert_eq!(after.name, before.name);
        assert_eq!(after.images.images(), before.images.images());
        assert_eq!(after.images.parents(), before.images.parents());
        assert_eq!(after.images.subjects(), before.images.subjects());
        assert_eq!(after.images.unread_indexes(), before.images.unread_indexes());
    }

    #[test]
    fn a_snapshot_has_the_media_types_that_ecr_returned() {
        for media_type in crate::domain::image::MANIFEST_TYPES {
            let more = format!(r#", "imageManifestMediaType": "{media_type}""#);
            let text = format!("[{}]", detail("b", "sha256:1d", &more));
            let listed = Listing::parse(&text).unwrap().repositories.remove(0);
            let snapshot = snapshot(&listed.name, &listed.images);
            assert_eq!(snapshot["imageDetails"][0]["imageManifestMediaType"], media_type);
        }
        let text = format!("[{}]", detail("b", "sha256:1d", r#", "imageManifestMediaType": "text/x""#));
        let listed = Listing::parse(&text).unwrap().repositories.remove(0);
        let detail = &snapshot(&listed.name, &listed.images)["imageDetails"][0];
        assert!(detail.get("imageManifestMediaType").is_none(), "no other type is made up: {detail}");
    }

    #[test]
    fn pages_repositories_and_manifests_may_follow_each_other() {
        let text = [
            format!(
                r#"{{"imageDetails": [{}], "nextToken": "t"}}"#,
                detail("b", "sha256:1", r#", "imageTags": ["x"]"#)
            ),
            format!("[{}, {}]", detail("a", "sha256:2", ""), detail("b", "sha256:3", "")),
            whole(
                r#"{"images": [{"imageId": {"imageDigest": "sha256:1"},
                "imageManifest": "{\"manifests\": [{\"digest\": \"sha256:3\"}]}"}], "failures": []}"#,
            ),
        ]
        .join("\n");
        let listing = Listing::parse(&text).unwrap();
        assert!(!listing.incomplete);
        let names: Vec<_> = listing.repositories.iter().map(|r| r.name.repository_name.as_deref()).collect();
        assert_eq!(names, [Some("a"), Some("b")]);
        let b = &listing.repositories[1].images;
        assert_eq!(b.images().len(), 2);
        assert_eq!(b.parents(), [(1, 0)]);
    }

    #[test]
    fn images_one_after_another_are_read_as_an_array_of_them_is() {
        let (one, other) = (detail("a", "sha256:1", ""), detail("a", "sha256:2", r#", "imageTags": ["v1"]"#));
        let listing = Listing::parse(&format!("{one}\n{other}\n")).unwrap();
        let array = Listing::parse(&format!("[{one}, {other}]")).unwrap();
        assert_eq!(listing.repositories[0].images.images(), array.repositories[0].images.images());
        assert_eq!(listing.repositories[0].images.images().len(), 2);
    }

    #[test]
    fn a_token_on_the_last_page_means_that_images_are_missing() {
        for token in ["nextToken", "NextToken"] {
            let text = format!(r#"{{"imageDetails": [{}], "{token}": "t"}}"#, detail("a", "sha256:1", ""));
            assert!(Listing::parse(&text).unwrap().incomplete);
        }
    }

    #[test]
    fn an_error_names_line_and_pointer() {
        let text = "{\"imageDetails\": []}\n{\"imageDetails\": [\n{\"imageDigest\": \"sha256:1\", \"imagePushedAt\": \"soon\"}]}";
        assert_eq!(
            Listing::parse(&whole(text)).unwrap_err().to_string(),
            "line 3, column 114: /imageDetails/0/imagePushedAt: `soon` is not a time; write it like \
             2026-11-23T00:00:00Z, with an offset or Z"
        );
    }

    #[test]
    fn what_is_no_listing_is_refused() {
        for (text, expected) in [
            ("", "there is no image listing in it"),
            ("  \n", "there is no image listing in it"),
            ("{}", "value 1 of the text has neither `imageDetails` nor `images`"),
            ("42", "line 1, column 2: the number `42` where what `aws ecr describe-images` prints is needed"),
            (
                &whole("[{\"imageDigest\": \"sha256:1\"}]"),
                "line 1, column 91: /0: `imagePushedAt` is missing",
            ),
            (
                "{\"imageDetails\": [",
                "line 1, column 18: /imageDetails: not JSON: the text ends inside of a list",
            ),
            ("{\"images\": []}", "it has what `aws ecr batch-get-image` prints, and no `imageDetails`"),
            ("[[\"sha256:1\", \"v1\"]]", "this is a list of rows that `--query` picked"),
            ("{\"imageIds\": []}", "this is what `aws ecr list-images` prints"),
            ("{\"rules\": []}", "this is a lifecycle policy; name it with `--policy`"),
            ("imageDigest,imageTags\nsha256:1,v1\n", "this is a table of comma-separated values"),
            ("{\"repositories\": [{\"repositoryName\": \"x\"}]}", "this is a list of repositories"),
            (
                "{\"name\": \"x\", \"tags\": [\"v1\"]}",
                "this is a list of tags, as a registry's own API has it",
            ),
            ("{\"data\": {\"imageDetails\": []}}", "this is an image listing inside of `data`; take it out"),
            ("[image]\ntag = \"v1\"\n", "this is TOML"),
            (
                "{\"imageDetails\": []},\n{\"imageDetails\": []}",
                "line 1, column 21: not JSON: `,` where a value",
            ),
            ("IMAGEDETAILS\tx\tsha256:aa\n", "this is text output of the AWS CLI"),
            ("imageDetails:\n- imageDigest: x\n", "this is YAML output of the AWS CLI"),
            ("---------------\n|  DescribeImages |\n", "this is a table of the AWS CLI"),
        ] {
            let error = Listing::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn an_empty_repository_has_no_images_and_no_name() {
        assert!(Listing::parse(r#"{"imageDetails": []}"#).unwrap().repositories.is_empty());
    }

    #[test]
    fn a_status_of_the_future_is_not_mistaken_for_active() {
        let text = format!("[{}]", detail("a", "sha256:1", r#", "imageStatus": "FROZEN""#));
        let listing = Listing::parse(&text).unwrap();
        assert_eq!(listing.repositories[0].images.images()[0].status, ImageStatus::Unknown);
    }
    #[test]
    fn a_digest_that_is_cut_off_or_in_capitals_is_refused_with_its_place() {
        let whole_one = format!("sha256:{}", "a1".repeat(32));
        for wrong in [
            "sha256:47e849b9dd1b",
            &whole_one.to_uppercase(),
            &whole_one.replace("sha256:", ""),
            "",
            "latest",
        ] {
            let manifest = |digest: &str, child: &str| {
                format!(
                    r#"{{"imageDetails": [], "images": [{{"imageId": {{"imageDigest": "{digest}"}},
                        "imageManifest": "{{\"manifests\": [{{\"digest\": \"{child}\"}}]}}"}}]}}"#
                )
            };
            for (text, place) in [
                (format!(r#"[{{"imagePushedAt": 1, "imageDigest": "{wrong}"}}]"#), "/0/imageDigest: "),
                (
                    format!(r#"{{"imageDetails": [{{"imageDigest": "{wrong}", "imagePushedAt": 1}}]}}"#),
                    "/imageDetails/0/imageDigest: ",
                ),
                (
                    format!(
                        r#"[{{"imagePushedAt": 1, "imageDigest": "{whole_one}", "subjectManifestDigest": "{wrong}"}}]"#
                    ),
                    "/0/subjectManifestDigest: ",
                ),
                (manifest(wrong, &whole_one), "/images/0/imageId/imageDigest: "),
                (manifest(&whole_one, wrong), "the manifest of sha256:a1a1"),
            ] {
                let error = Listing::parse(&text).unwrap_err().to_string();
                assert!(
                    error.contains(place) && error.contains("is no whole digest; write `sha256:`"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn tags_under_another_name_are_not_read_as_no_tags() {
        let refusal = |field: &str, wraps: (&str, &str)| {
            let more = format!(r#", "{field}": ["v1"]"#);
            let text = format!("{}{}{}", wraps.0, detail("a", "sha256:1", &more), wraps.1);
            Listing::parse(&text).err().map(|error| error.to_string())
        };
        for wraps in [("[", "]"), (r#"{"imageDetails": ["#, "]}")] {
            for field in ["imageTag", "tags", "imagetags", "IMAGETAGS", "image_tags", "Tag", "imageTagList"] {
                let refusal = refusal(field, wraps).unwrap_or_else(|| panic!("{field} is passed over"));
                assert!(
                    refusal.contains("/0: ") && refusal.contains(&format!("`{field}` is no field")),
                    "{refusal}"
                );
                assert!(refusal.contains("calls it `imageTags`"), "{refusal}");
            }
            assert_eq!(refusal("imageTags", wraps), None);
            assert_eq!(refusal("ImageTags", wraps), None);
            assert_eq!(refusal("imageTagMutability", wraps), None);
            assert_eq!(refusal("imageScanStatus", wraps), None);
            assert!(
                refusal("lastrecordedpulltime", wraps)
                    .is_some_and(|text| text.contains("`lastRecordedPullTime`"))
            );
        }
        let both = format!("[{}]", detail("a", "sha256:1", r#", "imageTags": ["v1"], "protectedTags": []"#));
        assert!(Listing::parse(&both).is_ok());
    }
}
