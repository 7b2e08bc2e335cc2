// What the owners of an optional descriptor or listener ask of it.
//
// Mutating only because an Optional of a noncopyable value gives access to its payload in no other way.

import Transport

extension Descriptor {
  mutating func pollNumber() -> CInt { number }
}

extension Listener {
  mutating func take() -> Accepted { accept() }
  mutating func pollNumber() -> CInt { descriptor.number }
}
