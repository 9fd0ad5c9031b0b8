//! Which models there are, who serves them, and what they cost.
//!
//! In: [`CatalogueSource`], the built-in data files with the user's additions laid over them. Out:
//! [`Catalogue`], one immutable image that every core reads without parsing. A source is validated
//! whole: it compiles without an error or not at all. Never: guesses about prices beyond the rules
//! at [`PriceSource`], network, clocks.

mod compile;
mod image;
mod overlay;
mod source;
mod validate;
mod view;

use std::ops::Range;
use std::sync::Arc;

use rkyv::util::AlignedVec;

use image::{ArchivedImage, Image};
pub use source::{
    AbilityBasis, AbilitySource, Auth, CacheSource, CatalogueSource, DataPolicySource,
    EndpointSource, MaxTokensField, ModelKind, ModelSource, OffPeakSource, OfferSource,
    PolicyControlSource, PolicyEffect, PriceConfidence, PriceListSource, PriceSource, ProviderKind,
    ProviderSource, QuirksSource, ReasoningSource, Retention, ServiceTier, Status, ThinkingFormat,
    TierSource, Training, WindowSource,
};
pub use view::{EndpointView, ModelView, OfferView, PolicyControlView, ProviderView, Quirks};

/// Position of a model in one compiled catalogue. Means nothing in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelIx(pub u32);

/// Position of an offer in one compiled catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferIx(pub u32);

/// Position of a provider in one compiled catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderIx(pub u16);

/// One thing that is wrong with a catalogue, and what would do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {field}: {problem}; {remedy}")]
pub struct CatalogueError {
    /// Which file, provider or model: ``model `openai/gpt-5` ``.
    pub subject: String,
    /// Which field of it: `offers[2].price.input`.
    pub field: String,
    /// What was found.
    pub problem: String,
    /// What would do.
    pub remedy: String,
}

/// A validated catalogue, compiled. Cloning copies a pointer.
#[derive(Clone)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

struct Inner {
    /// Has passed [`Catalogue::from_image`] and never changes.
    bytes: AlignedVec,
    version: String,
}

impl Catalogue {
    /// Takes an image apart from where it was compiled, checking every byte that is followed.
    pub fn from_image(image: &[u8]) -> Result<Catalogue, CatalogueError> {
        let damaged = |problem: String| CatalogueError {
            subject: "catalogue image".into(),
            field: "bytes".into(),
            problem,
            remedy: "compile it again with the program that reads it".into(),
        };
        let mut bytes = AlignedVec::with_capacity(image.len());
        bytes.extend_from_slice(image);
        rkyv::access::<ArchivedImage, rkyv::rancor::Error>(&bytes)
            .map_err(|error| damaged(error.to_string()))?
            .check_indices()
            .map_err(damaged)?;
        let version = blake3::hash(&bytes).to_hex()[..16].to_string();
        Ok(Catalogue { inner: Arc::new(Inner { bytes, version }) })
    }

    /// The image, for another process of the same build.
    pub fn image(&self) -> &[u8] {
        &self.inner.bytes
    }

    /// A hash of all content: 16 hex digits. Equal sources give equal versions.
    pub fn version(&self) -> &str {
        &self.inner.version
    }

    /// Number of models.
    pub fn model_count(&self) -> usize {
        self.archived().models.len()
    }

    /// Number of offers.
    pub fn offer_count(&self) -> usize {
        self.archived().offers.len()
    }

    /// Number of providers.
    pub fn provider_count(&self) -> usize {
        self.archived().providers.len()
    }

    /// All models, ascending by id.
    pub fn models(&self) -> impl ExactSizeIterator<Item = ModelView<'_>> {
        (0..self.model_count()).map(|index| self.model(ModelIx(index as u32)))
    }

    /// All offers, those of one model together, best first.
    pub fn offers(&self) -> impl ExactSizeIterator<Item = OfferView<'_>> {
        (0..self.offer_count()).map(|index| self.offer(OfferIx(index as u32)))
    }

    /// All providers, ascending by id.
    pub fn providers(&self) -> impl ExactSizeIterator<Item = ProviderView<'_>> {
        (0..self.provider_count()).map(|index| self.provider(ProviderIx(index as u16)))
    }

    /// The model of that name: its id, an alias, its slug without the lab, or a provider's name
    /// for it. Exact, case included.
    pub fn find_model(&self, name: &str) -> Option<ModelIx> {
        self.archived().find_name(name).map(ModelIx)
    }

    /// The provider of that id.
    pub fn find_provider(&self, id: &str) -> Option<ProviderIx> {
        let providers = &self.archived().providers;
        let found = providers.binary_search_by(|row| row.id.as_str().cmp(id));
        found.ok().map(|index| ProviderIx(index as u16))
    }

    /// The model at that position.
    ///
    /// # Panics
    /// When the position is of another catalogue and beyond this one's end. So do
    /// [`Catalogue::offer`], [`Catalogue::provider`] and [`Catalogue::offers_of`].
    pub fn model(&self, at: ModelIx) -> ModelView<'_> {
        ModelView::new(at, &self.archived().models[at.0 as usize])
    }

    /// The offer at that position.
    pub fn offer(&self, at: OfferIx) -> OfferView<'_> {
        OfferView::new(at, &self.archived().offers[at.0 as usize])
    }

    /// The provider at that position.
    pub fn provider(&self, at: ProviderIx) -> ProviderView<'_> {
        ProviderView::new(at, &self.archived().providers[usize::from(at.0)])
    }

    /// The offers of a model, best first.
    pub fn offers_of(&self, model: ModelIx) -> Range<OfferIx> {
        let row = &self.archived().models[model.0 as usize];
        let first = row.first_offer.to_native();
        OfferIx(first)..OfferIx(first + row.offer_count.to_native())
    }

    fn archived(&self) -> &ArchivedImage {
        // SAFETY: `from_image`, the only constructor, has checked these very bytes with
        // `rkyv::access` for this type, and nothing changes them: they are private, behind an
        // `Arc`, and no method gives out a mutable reference.
        unsafe { rkyv::access_unchecked::<ArchivedImage>(&self.inner.bytes) }
    }

    fn from_rows(image: &Image) -> Catalogue {
        let bytes = rkyv::to_bytes::<rkyv::rancor::Error>(image)
            .expect("writing rows to memory fails only when memory ends");
        Catalogue::from_image(&bytes).expect("an image just written reads back")
    }
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue")
            .field("version", &self.version())
            .field("models", &self.model_count())
            .field("offers", &self.offer_count())
            .field("providers", &self.provider_count())
            .finish()
    }
}

impl OfferIx {
    /// The positions of a range, since a range of a foreign type does not count by itself.
    pub fn each(range: Range<OfferIx>) -> impl ExactSizeIterator<Item = OfferIx> {
        (range.start.0..range.end.0).map(OfferIx)
    }
}

#[cfg(test)]
mod tests;
