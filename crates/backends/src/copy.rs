//! Copies what is in one bucket and not in another.

use std::cmp::Ordering;
use std::pin::Pin;

use detektor_contract::ObjectKey;
use futures::stream::{BoxStream, Peekable, StreamExt as _, TryStreamExt as _};

use crate::bucket::{Bucket, BucketError, Listed};

/// Objects on their way at once.
const AT_ONCE: usize = 16;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Objects that were written.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were there already.
    pub there: u64,
}

/// Copies every object that `to` has not, or has in another length: an object's key names its content, or what it was made
/// from, so that of two with one key and one length nothing is lost. What else `to` has stays. One that broke off is simply
/// run again. `progress` is called after every object that was written.
///
/// # Errors
/// Of either bucket. What was copied before is there.
pub async fn copy(
    from: &dyn Bucket,
    to: &dyn Bucket,
    mut progress: impl FnMut(&Copied),
) -> Result<Copied, BucketError> {
    let mut copied = Copied::default();
    let mut there = to.list("").peekable();
    let mut all = from.list("");
    // Reads ahead no further than this: listings may be long.
    let mut missing: Vec<Listed> = Vec::with_capacity(AT_ONCE);
    loop {
        let next = all.try_next().await?;
        let ended = next.is_none();
        if let Some(listed) = next {
            if is_there(&mut there, &listed).await? { copied.there += 1 } else { missing.push(listed) }
        }
        if missing.len() == AT_ONCE || ended {
            let writes: Vec<_> = missing.drain(..).map(|listed| one(from, to, listed.key)).collect();
            let mut written = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
            while let Some(bytes) = written.try_next().await? {
                copied.objects += 1;
                copied.bytes += bytes;
                progress(&copied);
            }
        }
        if ended {
            return Ok(copied);
        }
    }
}

/// Whether a listing, in key order, has an object as it is; goes on to its place.
async fn is_there(
    listing: &mut Peekable<BoxStream<'static, Result<Listed, BucketError>>>,
    wanted: &Listed,
) -> Result<bool, BucketError> {
    loop {
        let found = match Pin::new(&mut *listing).peek().await {
            None => return Ok(false),
            Some(Ok(found)) => match found.key.cmp(&wanted.key) {
                Ordering::Less => None,
                Ordering::Equal => Some(found.bytes == wanted.bytes),
                Ordering::Greater => return Ok(false),
            },
            Some(Err(_)) => None,
        };
        // What is behind us, or failed.
        listing.next().await.transpose()?;
        if let Some(same) = found {
            return Ok(same);
        }
    }
}

async fn one(from: &dyn Bucket, to: &dyn Bucket, key: ObjectKey) -> Result<u64, BucketError> {
    match from.get(&key).await {
        Ok(body) => {
            let bytes = body.len() as u64;
            to.put(&key, body).await.map(|()| bytes)
        }
        // Its time was over meanwhile.
        Err(BucketError::NotFound(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::memory::MemoryBucket;
    use bytes::Bytes;

    fn key(key: &str) -> ObjectKey {
        ObjectKey::parse(key).unwrap()
    }

    #[tokio::test]
    async fn what_is_missing_or_differs_is_copied_and_the_rest_stays() {
        let (from, to) = (MemoryBucket::new(), MemoryBucket::new());
        for number in 0..50 {
            from.put(&key(&format!("log/{number}")), Bytes::from(number.to_string())).await.unwrap();
        }
        for (there, body) in [("a", "own"), ("log/0", "0"), ("log/17", "torn off"), ("log/49", "49"), ("z", "own")] {
            to.put(&key(there), Bytes::from(body)).await.unwrap();
        }
        let mut calls = 0;
        let copied = copy(&*from, &*to, |_| calls += 1).await.unwrap();
        assert_eq!((copied.objects, copied.there, calls), (48, 2, 48));
        for number in 0..50 {
            assert_eq!(to.get(&key(&format!("log/{number}"))).await.unwrap(), number.to_string());
        }
        assert_eq!(to.get(&key("a")).await.unwrap(), "own");
        assert_eq!(to.list("").count().await, 52);
        let again = copy(&*from, &*to, |_| ()).await.unwrap();
        assert_eq!(again, Copied { there: 50, ..Copied::default() });
    }
}
