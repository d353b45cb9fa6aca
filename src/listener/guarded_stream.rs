//! What stands between Pingora and a connection of a client: an end to the wait for its requests, for
//! their heads and for its taking of an answer, and small writes gathered into one.
//!
//! Pingora writes the head of an answer, its body and its end one by one. Left as they are, each is a
//! packet; in a buffer of its own they would wait there for the next piece, and the head of a slow answer
//! with them. Here they wait until Pingora has nothing more to write, which shows by its turning to read.
//! Must not know: requests.

mod digests;
mod first_bytes;
mod frames;
mod last_poll;
mod shutdown;
mod writes;

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::proxy::Session;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::deadlines::{Awaited, Patience, Refusal, Terms, Verdict};
use super::http2_control::{Control, GOAWAY};
use super::http2_goaway::Farewell;
use super::http2_parked::Parked;
use super::http2_windows::Windows;
use super::http2_writes::Writes;
use super::lingering_close::Parting;
use super::raw_head::{NO_CHUNK, NO_HEAD, RawHead, Read, Unfit};
use last_poll::LastPoll;

/// A client's connection on its way to Pingora.
#[derive(Debug)]
pub(crate) struct Attended {
    stream: Stream,
    terms: Arc<Terms>,
    patience: Patience,
    /// Nothing is asked of the client now: its request is served.
    busy: AtomicBool,
    /// Of HTTP/1.
    head: RawHead,
    /// Length of the request that is served, as far as its head says.
    whole: AtomicUsize,
    last_poll: LastPoll,
    /// Read, and not yet given to Pingora: its buffer was full.
    ahead: BytesMut,
    /// Of HTTP/2.
    control: Option<Control>,
    farewell: Option<Farewell>,
    windows: Option<Arc<Windows>>,
    parked: Option<Box<Parked>>,
    /// Of HTTP/2, too.
    writes: Option<Arc<Writes>>,
    waiting: BytesMut,
    stall: Option<Pin<Box<Sleep>>>,
    /// What is said in place of all that Pingora says: the client is refused.
    parting: Option<Parting>,
    /// What is said so once the requests before are answered.
    last: Option<Refusal>,
}

impl Attended {
    /// A connection of HTTP/2. With its first byte the patience with it is others' business.
    pub(super) fn http2(
        stream: Stream,
        terms: Arc<Terms>,
        windows: Arc<Windows>,
        writes: Arc<Writes>,
    ) -> Attended {
        let control = Control::new(terms.control_rate, Instant::now());
        let parked = Parked::new(terms.parked.clone());
        Attended {
            control: Some(control),
            farewell: Some(Farewell::new()),
            windows: Some(windows),
            parked: Some(Box::new(parked)),
            writes: Some(writes),
            ..Attended::http1(stream, terms, Awaited::FirstByte)
        }
    }

    /// A connection of HTTP/1 that comes back, and that repeated this plain poll before.
    pub(super) fn back(stream: Stream, terms: Arc<Terms>, last_poll: Option<u64>) -> Attended {
        let attended = Attended::http1(stream, terms, Awaited::NextRequest);
        Attended { last_poll: LastPoll::known(last_poll), ..attended }
    }

    /// A connection of HTTP/1.
    pub(super) fn http1(stream: Stream, terms: Arc<Terms>, awaited: Awaited) -> Attended {
        Attended {
            stream,
            terms,
            patience: Patience::with(awaited),
            busy: AtomicBool::new(false),
            head: RawHead::new(),
            whole: AtomicUsize::new(0),
            last_poll: LastPoll::default(),
            ahead: BytesMut::new(),
            control: None,
            farewell: None,
            windows: None,
            parked: None,
            writes: None,
            waiting: BytesMut::new(),
            stall: None,
            parting: None,
            last: None,
        }
    }

    /// These bytes of its next request were read before. Returns what Pingora is to read in their place.
    pub(super) fn read_before(&mut self, read: BytesMut) -> BytesMut {
        if read.is_empty() {
            return read;
        }
        self.patience.heard(read.len());
        let Read { instead, unfit } = self.head.read(&read);
        let mut read = instead.unwrap_or(read);
        if let Some(unfit) = unfit {
            read.extend_from_slice(self.shut_out(unfit));
        }
        read
    }

    /// Something goes no further. Requests before it are answered first; the size of a chunk is refused in the place of
    /// its request's answer, by Pingora. Returns what Pingora is to read in its place.
    fn shut_out(&mut self, unfit: Unfit) -> &'static [u8] {
        let refusal = self.terms.refusal(unfit);
        if unfit == Unfit::Chunk {
            return NO_CHUNK;
        }
        match self.head.has_unanswered() {
            true => self.last = Some(refusal),
            false => self.parting = Some(Parting::with(refusal)),
        }
        NO_HEAD
    }

    /// The last request of this connection is answered.
    ///
    /// # Errors
    /// The stream, if it is none of these.
    pub(super) fn expect_next(stream: Stream) -> Result<Box<Attended>, Stream> {
        let mut attended = Attended::within(stream)?;
        attended.busy.store(false, Ordering::Relaxed);
        attended.patience.expect_next();
        let whole = attended.whole.load(Ordering::Relaxed);
        attended.head.expect_next(whole);
        if !attended.head.has_unanswered()
            && let Some(refusal) = attended.last.take()
        {
            attended.parting = Some(Parting::with(refusal));
        }
        Ok(attended)
    }

    /// The head of this request is read: how long the rest may take is its own business.
    pub(crate) fn asked(session: &Session) {
        if let Some(attended) = Attended::of(session) {
            attended.busy.store(true, Ordering::Relaxed);
            let length = session.req_header().headers.get(http::header::CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0_usize);
            let whole = session.to_h1_raw().len().saturating_add(length);
            attended.whole.store(whole, Ordering::Relaxed);
        }
    }

    /// Remembers the number of a plain poll. Returns whether the one before it on this connection has the same.
    pub(crate) fn repeats_poll(session: &Session, number: u64) -> bool {
        Attended::of(session).is_some_and(|attended| attended.last_poll.repeats(number))
    }

    fn of(session: &Session) -> Option<&Attended> {
        (**session.downstream_session.stream()?).as_any().downcast_ref()
    }

    /// The connection itself, if this one is such; nothing of it waits to be written.
    pub(crate) fn bare(stream: Stream) -> Stream {
        match Attended::within(stream) {
            Ok(attended) if attended.waiting.is_empty() && attended.ahead.is_empty() => attended.stream,
            Ok(attended) => attended,
            Err(stream) => stream,
        }
    }

    fn within(stream: Stream) -> Result<Box<Attended>, Stream> {
        if !(*stream).as_any().is::<Attended>() {
            return Err(stream);
        }
        Ok(stream.into_any().downcast().expect("it was one a line ago, and nobody else has it"))
    }

    /// Bytes of the client were read.
    fn heard(&mut self, bytes: &[u8], context: &mut Context<'_>) -> io::Result<()> {
        let Some(control) = &mut self.control else {
            self.patience.heard(bytes.len());
            return Ok(());
        };
        self.busy.store(true, Ordering::Relaxed);
        if control.bears(bytes) {
            return Ok(());
        }
        self.terms.refusals.with_label_values(&["http2-control"]).inc();
        // As good as it gets: a client that does not read it will find out.
        let _ = Pin::new(&mut self.stream).poll_write(context, &GOAWAY);
        let _ = Pin::new(&mut self.stream).poll_flush(context);
        Err(ErrorKind::ConnectionAborted.into())
    }

    /// Looks at what was read of requests, the bytes of the buffer from `before` on.
    fn reads_requests(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        before: usize,
    ) -> Poll<io::Result<()>> {
        let Read { instead, unfit } = self.head.read(&buffer.filled()[before..]);
        let Some(mut instead) = instead else { return Poll::Ready(Ok(())) };
        buffer.set_filled(before);
        if self.last.is_some() {
            // Of a client that is shut out nothing more is read; the requests before go on.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(unfit) = unfit {
            instead.extend_from_slice(self.shut_out(unfit));
        }
        self.ahead = instead;
        self.give_ahead(buffer);
        Poll::Ready(Ok(()))
    }

    fn give_ahead(&mut self, buffer: &mut ReadBuf<'_>) {
        let fits = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead.split_to(fits));
    }

    /// Something was written, or was to be.
    fn told(&mut self, pieces: &[io::IoSlice<'_>], way: &Poll<io::Result<usize>>) {
        let Poll::Ready(Ok(written)) = way else { return };
        self.windows.iter().for_each(|windows| windows.went(pieces, *written));
        if let Some(farewell) = &mut self.farewell
            && let Some(reason) = farewell.written(pieces, *written)
        {
            self.terms.refusals.with_label_values(&[reason]).inc();
        }
    }

    /// Nothing comes for now.
    fn poll_patience(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(self.patience.poll_end(&self.terms, context)) {
            Verdict::Close => Poll::Ready(Err(ErrorKind::TimedOut.into())),
            Verdict::Refuse(refusal) => self.refuse(refusal, buffer),
        }
    }

    fn refuse(&mut self, refusal: Refusal, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.parting = Some(Parting::with(refusal));
        buffer.put_slice(&NO_HEAD[..NO_HEAD.len().min(buffer.remaining())]);
        Poll::Ready(Ok(()))
    }

    /// Ends a write that makes no way for too long.
    fn moving<T>(&mut self, context: &mut Context<'_>, way: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if way.is_ready() {
            self.stall = None;
            return way;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.terms.send)));
        ready!(stall.as_mut().poll(context));
        self.terms.refusals.with_label_values(&["send-timeout"]).inc();
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Attended {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.parting.is_some() && self.ahead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let attends = self.control.is_some() || !self.busy.load(Ordering::Relaxed);
        if attends && let Some(refusal) = self.patience.too_long(&self.terms) {
            return self.refuse(refusal, buffer);
        }
        if !self.ahead.is_empty() {
            self.give_ahead(buffer);
            return Poll::Ready(Ok(()));
        }
        if let Some(parked) = self.poll_parked(buffer) {
            return parked;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() && !self.waiting.is_empty() && self.poll_waiting(context)?.is_ready() {
            // What a write has broken, the next one tells.
            let _ = Pin::new(&mut self.stream).poll_flush(context)?;
        }
        match read {
            Poll::Ready(Ok(())) => {
                if attends {
                    self.heard(&buffer.filled()[before..], context)?;
                }
                if self.control.is_some() {
                    self.reads_frames(context, buffer, before)
                } else {
                    self.reads_requests(context, buffer, before)
                }
            }
            Poll::Pending if !self.busy.load(Ordering::Relaxed) => self.poll_patience(context, buffer),
            read => read,
        }
    }
}

impl AsyncWrite for Attended {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.parting.is_some() {
            return Poll::Ready(Ok(bytes.len()));
        }
        if self.gathers(bytes.len()) {
            return self.poll_gather(context, &[io::IoSlice::new(bytes)]);
        }
        ready!(self.poll_waiting(context))?;
        let way = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.told(&[io::IoSlice::new(bytes)], &way);
        self.moving(context, way)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.parting.is_some() {
            return Poll::Ready(Ok(pieces.iter().map(|piece| piece.len()).sum()));
        }
        if self.writes.is_some() && self.gathers(pieces.iter().map(|piece| piece.len()).sum()) {
            return self.poll_gather(context, pieces);
        }
        ready!(self.poll_waiting(context))?;
        let way = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.told(pieces, &way);
        self.moving(context, way)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.writes.as_ref().is_some_and(|writes| writes.gather()) {
            // More is about to be written, and then it is flushed again.
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_waiting(context))?;
        let way = Pin::new(&mut self.stream).poll_flush(context);
        self.moving(context, way)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_waiting(context))?;
        let Attended { parting, stream, .. } = &mut *self;
        if let Some(parting) = parting {
            ready!(parting.poll_over(stream, context));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    pub(super) async fn pair() -> (Attended, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let stream: Stream = Box::new(pingora::protocols::l4::stream::Stream::from(socket));
        (Attended::http1(stream, Arc::new(Terms::strict()), Awaited::FirstByte), client)
    }

    #[tokio::test]
    async fn what_waits_is_written_with_the_turn_to_read() {
        let (mut server, mut client) = pair().await;
        server.write_all(b"head ").await.unwrap();
        server.write_all(b"body").await.unwrap();
        let mut read = [0; 64];
        assert!(client.try_read(&mut read).is_err(), "nothing yet");
        let reading = tokio::spawn(async move {
            let mut read = [0; 64];
            let length = server.read(&mut read).await.unwrap();
            (server, read[..length].to_vec())
        });
        let length = client.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], b"head body");
        client.write_all(b"more").await.unwrap();
        let (mut server, said) = reading.await.unwrap();
        assert_eq!(said, b"more");
        server.write_all(b"last").await.unwrap();
        server.flush().await.unwrap();
        let length = client.read(&mut read).await.unwrap();
        assert_eq!(&read[..length], b"last");
    }

    #[tokio::test]
    async fn large_pieces_follow_small_ones_in_order() {
        let (mut server, mut client) = pair().await;
        let pieces: Vec<Vec<u8>> = [10, 8000, 500, 20_000, 3, 8192, 8193, 1]
            .iter()
            .enumerate()
            .map(|(n, size)| vec![n as u8; *size])
            .collect();
        let wanted = pieces.concat();
        let writing = tokio::spawn(async move {
            for piece in &pieces {
                server.write_all(piece).await.unwrap();
            }
            AsyncWriteExt::shutdown(&mut server).await
        });
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert!(read == wanted);
        writing.await.unwrap().unwrap();
    }
}
