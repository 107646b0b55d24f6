//! In which order pictures are shown, by libavcodec's parser: it reads slice headers and decodes nothing.

use std::ptr;

use detektor_contract::Codec;
use detektor_media::ParameterSets;
use ffmpeg::ffi;

/// Reads picture order counts.
pub(super) struct PictureOrder {
    parser: *mut ffi::AVCodecParserContext,
    context: *mut ffi::AVCodecContext,
}

// SAFETY: both pointers are ours alone, and libavcodec keeps no thread-local state for them.
unsafe impl Send for PictureOrder {}

impl PictureOrder {
    /// A parser for whole access units behind 4-byte lengths. None without parameter sets, or if libav lacks the parser.
    pub(super) fn new(sets: &ParameterSets) -> Option<Self> {
        let record = sets.record().ok()?;
        let id = match sets.codec() {
            Codec::H264 => ffi::AVCodecID::H264,
            Codec::H265 => ffi::AVCodecID::HEVC,
        };
        let padding = ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
        // SAFETY: every pointer is checked before it is used; extradata is libav's memory, zeroed behind its end, and
        // belongs to the context. A context without a codec is valid for parsers.
        unsafe {
            let made =
                Self { parser: ffi::av_parser_init(id.0 as _), context: ffi::avcodec_alloc_context3(ptr::null()) };
            if made.parser.is_null() || made.context.is_null() {
                return None;
            }
            let extradata = ffi::av_mallocz(record.len() + padding).cast::<u8>();
            if extradata.is_null() {
                return None;
            }
            ptr::copy_nonoverlapping(record.as_ptr(), extradata, record.len());
            (*made.context).extradata = extradata;
            (*made.context).extradata_size = record.len() as i32;
            (*made.parser).flags |= ffi::PARSER_FLAG_COMPLETE_FRAMES;
            Some(made)
        }
    }

    /// The picture order count of an access unit; 0 where there is none.
    pub(super) fn of(&mut self, access_unit: &[u8]) -> i32 {
        let Ok(length) = i32::try_from(access_unit.len()) else { return 0 };
        // libav's bit readers look up to this far beyond the end.
        let mut padded = Vec::with_capacity(access_unit.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize);
        padded.extend_from_slice(access_unit);
        padded.resize(access_unit.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize, 0);
        let (mut out, mut out_length) = (ptr::null_mut(), 0);
        // SAFETY: the input is padded and outlives the call; with complete frames the output points into it.
        unsafe {
            ffi::av_parser_parse2(
                self.parser,
                self.context,
                &mut out,
                &mut out_length,
                padded.as_ptr(),
                length,
                ffi::AV_NOPTS_VALUE,
                ffi::AV_NOPTS_VALUE,
                0,
            );
            (*self.parser).output_picture_number
        }
    }
}

impl Drop for PictureOrder {
    fn drop(&mut self) {
        // SAFETY: both are ours or null, and both functions take null.
        unsafe {
            ffi::av_parser_close(self.parser);
            ffi::avcodec_free_context(&mut self.context);
        }
    }
}
