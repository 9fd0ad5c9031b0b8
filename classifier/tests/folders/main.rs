//! Model folders through the real ONNX Runtime, the shipped one and those of `fixtures`. Without the
//! library these tests say so and pass: `cargo run -p tools -- onnxruntime fetch` puts it where they
//! look.

mod shipped;
mod support;
mod tokenizer;
