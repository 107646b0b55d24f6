//! One libav decoder and one run of it over a segment's packets.

use std::io::ErrorKind;
use std::sync::Once;

use detektor_contract::Codec;
use ffmpeg::codec::{self, Compliance, threading};
use ffmpeg::{Error, ffi, frame};

use super::DecodeError;

/// How many errors in a row a drain may answer before it is taken to be over.
const MAX_DRAIN_ERRORS: u32 = 64;

/// A compressed access unit.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its place in decode order within the segment, by which its picture is known again.
    pub ordinal: u32,
    /// NAL units, each behind its length in four bytes.
    pub data: &'a [u8],
}

/// A picture and the packet that it came out of.
pub struct Decoded {
    /// The packet's ordinal.
    pub ordinal: u32,
    /// The picture: the decoder's own planes, not a copy. They go back to the decoder's pool when this is dropped.
    pub frame: frame::Video,
}

/// A video decoder that reads from memory on the calling thread.
pub struct Decoder {
    inner: codec::decoder::Video,
}

impl Decoder {
    /// Opens a decoder for streams with these parameter sets (an `avcC` or `hvcC` record).
    ///
    /// # Errors
    /// Where libav lacks the decoder, refuses the parameter sets or finds no memory.
    pub fn open(codec: Codec, extradata: &[u8]) -> Result<Self, DecodeError> {
        silence_libav();
        let id = match codec {
            Codec::H264 => codec::Id::H264,
            Codec::H265 => codec::Id::HEVC,
        };
        let found = codec::decoder::find(id).ok_or(DecodeError::NoDecoder(codec))?;
        let mut context = codec::Context::new_with_codec(found);
        set_extradata(&mut context, extradata)?;
        context.set_threading(threading::Config { count: 1, ..threading::Config::kind(threading::Type::None) });
        // Without this a decoder guesses how far pictures are reordered, learns it from the first ones that come too
        // late, and drops those.
        context.compliance(Compliance::Strict);
        let opened = context.decoder().open_as(found).and_then(codec::decoder::Opened::video);
        opened.map(|inner| Self { inner }).map_err(|source| match system(source) {
            Some(ErrorKind::OutOfMemory) => DecodeError::NoMemory,
            _ => DecodeError::Open { codec, source },
        })
    }

    /// Decodes `packets`, which begin at a picture that needs none before it, and gives their pictures in presentation
    /// order. What is left in the decoder from before, or of these packets when the run is dropped early, is forgotten.
    pub fn run<'p, I: Iterator<Item = Packet<'p>>>(&mut self, packets: I) -> Run<'_, I> {
        self.inner.flush();
        Run { decoder: self, packets, draining: false, errors: 0, done: false }
    }
}

/// Pictures in presentation order. A packet that gives no picture is passed over; which one it was shows in the
/// ordinals that came out.
pub struct Run<'d, I> {
    decoder: &'d mut Decoder,
    packets: I,
    draining: bool,
    errors: u32,
    done: bool,
}

impl<'p, I: Iterator<Item = Packet<'p>>> Iterator for Run<'_, I> {
    type Item = Result<Decoded, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut picture = frame::Video::empty();
        while !self.done {
            match self.decoder.inner.receive_frame(&mut picture) {
                Ok(()) => {
                    let ordinal = picture.pts().and_then(|pts| u32::try_from(pts).ok());
                    let Some(ordinal) = ordinal else { continue };
                    return Some(Ok(Decoded { ordinal, frame: picture }));
                }
                Err(Error::Eof) => self.done = true,
                Err(error) if system(error) == Some(ErrorKind::OutOfMemory) => {
                    self.done = true;
                    return Some(Err(DecodeError::NoMemory));
                }
                // It wants more; or what it was given is bad, which what follows need not be.
                Err(_) if !self.draining => self.feed(),
                Err(_) => {
                    self.errors += 1;
                    self.done = self.errors > MAX_DRAIN_ERRORS;
                }
            }
        }
        None
    }
}

impl<'p, I: Iterator<Item = Packet<'p>>> Run<'_, I> {
    /// Sends one packet, or says that there are no more.
    fn feed(&mut self) {
        match self.packets.next() {
            Some(packet) => self.decoder.send(packet),
            None => {
                self.draining = true;
                self.done = self.decoder.inner.send_eof().is_err();
            }
        }
    }
}

impl<I> Drop for Run<'_, I> {
    fn drop(&mut self) {
        // Frees the references that the decoder holds, instead of keeping them until the next segment.
        self.decoder.inner.flush();
    }
}

impl Decoder {
    fn send(&mut self, packet: Packet<'_>) {
        // libav wants zeroed padding behind the data, which a slice of a segment does not have: hence the copy.
        if packet.data.is_empty() || i32::try_from(packet.data.len()).is_err() {
            return;
        }
        let mut copy = ffmpeg::Packet::copy(packet.data);
        copy.set_pts(Some(i64::from(packet.ordinal)));
        // An error concerns this packet alone: no picture will carry its ordinal. Full, the decoder cannot be, since it
        // is only fed after it has asked for more.
        let _no_picture = self.inner.send_packet(&copy);
    }
}

/// The operating system's error within libav's.
fn system(error: Error) -> Option<ErrorKind> {
    match error {
        Error::Other { errno } => Some(std::io::Error::from_raw_os_error(errno).kind()),
        _ => None,
    }
}

/// Damaged video is an everyday thing that the frames' fates tell of; libav would tell it to standard error too.
pub(crate) fn silence_libav() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| ffmpeg::log::set_level(ffmpeg::log::Level::Fatal));
}

fn set_extradata(context: &mut codec::Context, extradata: &[u8]) -> Result<(), DecodeError> {
    if extradata.is_empty() {
        return Ok(());
    }
    let size = i32::try_from(extradata.len()).map_err(|_| DecodeError::NoMemory)?;
    // SAFETY: the context is ours and not open yet. It takes over the allocation, which has to come from libav and to
    // end in zeroed padding; the copy stays within it.
    unsafe {
        let memory = ffi::av_mallocz(extradata.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
        if memory.is_null() {
            return Err(DecodeError::NoMemory);
        }
        memory.copy_from_nonoverlapping(extradata.as_ptr(), extradata.len());
        let context = context.as_mut_ptr();
        (*context).extradata = memory;
        (*context).extradata_size = size;
    }
    Ok(())
}
