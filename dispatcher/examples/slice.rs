//! Cuts a file into segments and throws them away: what slicing alone costs. `slice FILE`
//!
//! Compare with `ffmpeg -i FILE -map 0:v -c copy -f segment -segment_format mp4 OUT%05d.mp4`.

use detektor_contract::{CameraId, DetectPolicy, Epoch, EventRules};
use detektor_dispatcher::ingest::{Cutting, Ingest, Ingested};
use detektor_dispatcher::record::{Orders, Recorder};
use detektor_dispatcher::source::{self, Item, OpenOptions, SourceUrl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url: SourceUrl = std::env::args().nth(1).ok_or("slice FILE")?.parse()?;
    let (policy, rules) = (DetectPolicy::default(), EventRules::default());
    let orders = Orders { camera: CameraId::new("file")?, partition: 0, policy, rules, inline_bytes: 4 << 20 };
    let mut source = source::open(&url, OpenOptions::default()).await?.source;
    let mut ingest = Ingest::new(Cutting::default(), false);
    let mut recorder = Recorder::new(orders, Epoch(1), 0, false);
    let (mut messages, mut objects) = (0, 0);
    loop {
        let item = source.next().await?;
        let over = item.is_none();
        match item {
            Some(Item::Stream(info)) => ingest.stream(info),
            Some(Item::Unit(unit)) => ingest.unit(unit),
            Some(Item::Lost { .. }) => {}
            None => ingest.end(),
        }
        for ingested in ingest.take() {
            let record = match ingested {
                Ingested::Slice(slice, form) => recorder.slice(slice, form),
                Ingested::Gap(back, cause) => recorder.gap(Some(back), cause),
            };
            messages += record.as_ref().map_or(0, |record| record.body.len());
            objects += record.and_then(|record| record.object).map_or(0, |(_, bytes)| bytes.len());
        }
        if over {
            break;
        }
    }
    let (frames, segments) = (recorder.frames(), recorder.segments());
    println!("{frames} frames in {segments} segments, {messages} bytes in messages, {objects} bytes in objects");
    Ok(())
}
