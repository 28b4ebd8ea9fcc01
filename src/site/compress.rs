//! Makes codings of files in memory: whole, once, away from the executor, and kept as content of their own.
//!
//! Whole, so that every answer has a known length and ranges work; once, for a file that is asked for often; one at a
//! time on a core, so that a burst of new files cannot take the machine.

use super::catalogue::{Catalogue, Key, KeyOf, Known};
use super::load::SHARED_BYTES_MIN;
use super::{Body, Representation};
use crate::http::coding::Coding;
use crate::http::respond::RepresentationMetadata;
use crate::http::validator::Validators;
use crate::storage::pool;
use crate::storage::shared::{Filling, SharedContent};
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

/// Less than this gains nothing: it travels in one packet as it is.
pub(super) const CONTENT_BYTES_MIN: u64 = 512;

/// More than this takes a thread for seconds and its memory several times over; who has such text lays its codings
/// beside it.
pub(super) const CONTENT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A coding that saves less than a twentieth is not worth a place in memory.
const GAIN_MIN_PERCENT: usize = 5;

/// Makes a coding in the background, unless one is being made.
pub(super) fn start(catalogue: &Rc<Catalogue>, key: KeyOf<'_>, source: &Rc<Known>) {
    // What may have changed without its times changing is not worth the work.
    if source.unsettled || !catalogue.compressing.is_idle() {
        return;
    }
    let (catalogue, key, source) = (catalogue.clone(), key.to_key(), source.clone());
    pool::in_background(async move { drop(make(&catalogue, key, &source).await) });
}

/// What came of making a coding.
pub(super) enum Made {
    /// It is there.
    Coding(Rc<Representation>),
    /// It is not worth it, or cannot be made.
    Nothing,
    /// Too many wait for one to be made.
    NotNow,
}

/// Makes a coding of `source` and remembers it.
pub(super) async fn make(catalogue: &Catalogue, key: Key, source: &Known) -> Made {
    let Some(plain) = &source.representation else { return Made::Nothing };
    let coding = key.coding();
    let content = match &plain.body {
        Body::Held(bytes) => Content::Copy(bytes.to_vec()),
        Body::Shared(content) => Content::Shared(content.clone()),
        Body::File(_) => return Made::Nothing,
    };
    let Some(outcome) = catalogue.compressing.run(move || content.encode(coding)).await else { return Made::NotNow };
    let (body, length) = match outcome {
        Ok(Some(Content::Copy(bytes))) => (Body::Held(Rc::from(bytes.as_slice())), bytes.len() as u64),
        Ok(Some(Content::Shared(content))) => (Body::Shared(content.clone()), content.length()),
        Ok(None) => {
            source.compressible.set(source.compressible.get().without(coding));
            return Made::Nothing;
        }
        Err(error) => {
            tracing::error!("compression failed: {error}");
            return Made::Nothing;
        }
    };
    let mut validators = Validators::new(source.identity.modified.unix_nanoseconds(), length, coding);
    if plain.metadata.validators.entity_tag.is_none() {
        validators.entity_tag = None;
    }
    let metadata = RepresentationMetadata {
        content_coding: coding,
        complete_length: length,
        validators,
        ..plain.metadata.clone()
    };
    let representation = Rc::new(Representation {
        metadata,
        body,
        fields: plain.fields.clone(),
        ranges_max: plain.ranges_max,
        is_new: Cell::new(false),
    });
    // What may have changed without its times changing is for this client only.
    if !source.unsettled {
        let known = Known::of_coding(representation.clone(), source.identity);
        catalogue.remember(key.as_key_of(), known);
    }
    Made::Coding(representation)
}

/// Content on its way to a pool's thread and back: the bytes that a core holds are not for sharing between threads.
enum Content {
    Copy(Vec<u8>),
    Shared(Arc<SharedContent>),
}

impl Content {
    /// Codes it, on a thread that may take its time; nothing, where that gains too little.
    fn encode(self, coding: Coding) -> std::io::Result<Option<Content>> {
        let plain = match self {
            Content::Copy(bytes) => bytes,
            Content::Shared(content) => content.to_vec()?,
        };
        let coded = encode(coding, &plain)?;
        if coded.len() > plain.len() * (100 - GAIN_MIN_PERCENT) / 100 {
            return Ok(None);
        }
        if coded.len() as u64 >= SHARED_BYTES_MIN {
            // Without a descriptor to spare, it is held by its core alone.
            if let Ok(mut filling) = Filling::begin(coded.len() as u64) {
                filling.append(&coded)?;
                return Ok(Some(Content::Shared(filling.finish(None)?)));
            }
        }
        Ok(Some(Content::Copy(coded)))
    }
}

/// Levels at which more effort hardly gains: a file is compressed once and sent often, but its core must not be
/// kept from its clients for long.
const GZIP_LEVEL: u32 = 7;
const BROTLI_QUALITY: i32 = 6;
const BROTLI_WINDOW_BITS: i32 = 22;
const ZSTD_LEVEL: i32 = 9;

fn encode(coding: Coding, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    match coding {
        Coding::Identity => Ok(bytes.to_vec()),
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(GZIP_LEVEL));
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Coding::Brotli => {
            let params = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW_BITS,
                size_hint: bytes.len(),
                ..Default::default()
            };
            let mut coded = Vec::new();
            brotli::BrotliCompress(&mut &bytes[..], &mut coded, &params)?;
            Ok(coded)
        }
        // RFC 9659: a window of 8 MiB at most, which no content in memory reaches at this level.
        Coding::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_is_coded_can_be_decoded() {
        let text: Vec<u8> = b"a line of text that comes again and again\n".repeat(1000);
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let coded = encode(coding, &text).expect("it can be coded");
            assert!(coded.len() < text.len() / 10, "{coding:?}");
            let mut decoded = Vec::new();
            match coding {
                Coding::Identity => unreachable!("not in the list"),
                Coding::Gzip => drop(flate2::read::GzDecoder::new(&coded[..]).read_to_end(&mut decoded)),
                Coding::Brotli => drop(brotli::BrotliDecompress(&mut &coded[..], &mut decoded)),
                Coding::Zstd => decoded = zstd::stream::decode_all(&coded[..]).expect("it can be decoded"),
            }
            assert!(decoded == text, "{coding:?}");
            assert_eq!(encode(coding, &text).expect("it can be coded"), coded, "{coding:?}: workers must agree");
        }
    }
}
