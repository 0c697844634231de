// Package qmptest is a QEMU monitor and a guest agent that keep state like the real ones and misbehave on demand.
package qmptest
