package link

import "errors"

// ErrDown says that an interface is down, or gone.
var ErrDown = errors.New("the interface is down or gone")

// ErrBusy says that the interface's queue is full: the frame was not sent, and nobody waited for room.
var ErrBusy = errors.New("the interface's queue is full")
