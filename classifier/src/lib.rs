//! Text to verdict: excerpt, rules, hashed n-grams, ONNX session.
