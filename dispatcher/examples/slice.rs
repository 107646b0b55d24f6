//! Cuts a file into segments and writes their messages into a folder: what slicing alone costs. `slice FILE FOLDER`
//!
//! Compare with `ffmpeg -i FILE -map 0:v -c copy -f segment -segment_format mp4 FOLDER/%05d.mp4`; `just bench-slicing` does.

use std::path::PathBuf;

use detektor_contract::{CameraId, DetectPolicy, Epoch, EventRules};
use detektor_dispatcher::ingest::{Cutting, Ingest, Ingested};
use detektor_dispatcher::record::{Orders, Recorder};
use detektor_dispatcher::source::{self, Item, OpenOptions, SourceUrl};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("slice FILE FOLDER".into());
    };
    let (url, folder): (SourceUrl, PathBuf) = (file.parse()?, folder.into());
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
            let Some(record) = record else { continue };
            let name = folder.join(format!("{:05}", record.id.sequence));
            messages += record.body.len();
            std::fs::write(&name, &record.body)?;
            if let Some((_, bytes)) = record.object {
                objects += bytes.len();
                std::fs::write(name.with_extension("mp4"), bytes)?;
            }
        }
        if over {
            break;
        }
    }
    let (frames, segments) = (recorder.frames(), recorder.segments());
    println!("{frames} frames in {segments} segments, {messages} bytes in messages, {objects} bytes in objects");
    Ok(())
}
