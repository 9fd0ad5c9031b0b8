//! A request to a provider of another dialect than its client's, and the answer back: through the
//! neutral form of [`wire::chat`].
//!
//! In: the client's body. Out: a body for one target, and what turns its answer into the client's.
//! Never: I/O; anything kept after the answer.

use crate::decide::Understood;
use crate::relay::Translator;
use crate::serve::hex;
use crate::target::{Target, Way};
use arrayvec::ArrayString;
use wire::chat::{Chat, Dropped, Request, Shown, StreamWriter};
use wire::dialect::{Answer, AnswerFault};
use wire::embed::Embed;
use wire::refusal::{Kind, Refusal};

/// A request and who is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The client's body.
    pub body: &'a [u8],
    /// What it says.
    pub understood: &'a Understood,
    /// Whom to ask.
    pub target: &'a Target,
    /// In which dialect.
    pub way: &'a Way,
    /// The request's id.
    pub id: u128,
}

/// A request in the words of one target.
pub struct Translated {
    /// What is sent.
    pub body: Vec<u8>,
    /// What it lost on the way.
    pub dropped: Dropped,
    between: Between,
    /// Writes the client's stream, when one is asked for.
    writer: Option<Box<dyn StreamWriter>>,
}

/// Who reads and who writes: a client's dialect and a provider's.
enum Between {
    Chat { client: &'static dyn Chat, provider: &'static dyn Chat },
    Embed { client: &'static dyn Embed, provider: &'static dyn Embed },
}

impl Translated {
    /// The request in the words of its target; `None` when that speaks the client's own dialect. A
    /// refusal is of what the target has no words for.
    pub fn prepare(asked: Asked<'_>) -> Result<Option<Translated>, Refusal> {
        let Asked { body, understood, target, way, .. } = asked;
        let from = understood.codec.dialect();
        if from == way.codec.dialect() {
            return Ok(None);
        }
        let mut translated = Vec::with_capacity(body.len() + 512);
        if let (Some(client), Some(provider)) = (wire::dialect::embed(from), way.embed) {
            let request = client.neutral_request(body)?;
            let dropped = provider.provider_request(&request, &target.wire_id, &mut translated)?;
            let between = Between::Embed { client, provider };
            return Ok(Some(Translated { body: translated, dropped, between, writer: None }));
        }
        let (Some(client), Some(provider)) = (wire::dialect::chat(from), way.chat) else {
            return Err(Refusal::new(Kind::NotCapable));
        };
        // Some dialects say it in the path.
        let stream = understood.parsed.stream;
        let mut request = Request { stream, ..client.neutral_request(body)? };
        request.max_output = request.max_output.map(|asked| asked.min(target.max_output));
        let dropped = provider.provider_request(&request, &target.facts(way), &mut translated)?;
        let writer = stream.then(|| client.stream_writer(&request, &shown(&asked, &hex(asked.id))));
        let between = Between::Chat { client, provider };
        Ok(Some(Translated { body: translated, dropped, between, writer }))
    }

    /// A translator for the stream of the answer.
    pub fn translator(&mut self, asked: Asked<'_>) -> Result<Translator, Refusal> {
        let Asked { body, target, way, .. } = asked;
        let Between::Chat { client, provider } = self.between else {
            // Vectors are not streamed.
            return Err(Refusal::new(Kind::UpstreamInvalid));
        };
        let writer = match self.writer.take() {
            Some(writer) => writer,
            // An earlier connection has used it up.
            None => {
                let request = client.neutral_request(body)?;
                client.stream_writer(&request, &shown(&asked, &hex(asked.id)))
            }
        };
        let reader = provider.stream_reader(&target.read_rules(way));
        Ok(Translator::new(reader, writer))
    }

    /// A whole answer in the client's words, and what is to be known of it.
    pub fn answer(
        &self,
        answer: &[u8],
        asked: Asked<'_>,
    ) -> Result<(Vec<u8>, Answer), AnswerFault> {
        let id = hex(asked.id);
        let shown = shown(&asked, &id);
        let mut out = Vec::with_capacity(answer.len().max(1_024));
        // The request could be read when it was sent.
        let unread = |_| AnswerFault::Malformed;
        match self.between {
            Between::Chat { client, provider } => {
                let answer =
                    provider.neutral_answer(answer, &asked.target.read_rules(asked.way))?;
                let request = client.neutral_request(asked.body).map_err(unread)?;
                client.client_answer(&answer, &request, &shown, &mut out);
                Ok((out, Answer { usage: answer.usage, content_bytes: answer.content_bytes() }))
            }
            Between::Embed { client, provider } => {
                let request = client.neutral_request(asked.body).map_err(unread)?;
                let answer = provider.neutral_answer(answer)?.for_inputs(request.inputs.len())?;
                client.client_answer(&answer, &request, &shown, &mut out)?;
                Ok((out, Answer { usage: answer.usage, content_bytes: 0 }))
            }
        }
    }
}

fn shown<'s>(asked: &Asked<'s>, id: &'s ArrayString<32>) -> Shown<'s> {
    Shown {
        id,
        model: &asked.target.model,
        // The id begins with the milliseconds of Unix time.
        created_s: (asked.id >> 80) as u64 / 1_000,
        input_tokens: asked.understood.parsed.input_tokens(),
    }
}
