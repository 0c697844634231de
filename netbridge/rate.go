package netbridge

import "kvmctl/internal/units"

// shaping is what a limit means to the kernel, in bytes and bytes per second.
type shaping struct {
	Rate        uint64 // bytes per second
	ToBurst     uint32 // bytes that may go to the guest at once
	ToQueue     uint32 // bytes that wait before more is dropped
	FromBurst   uint32 // bytes that may come from the guest at once
	LargestFrom uint32 // bytes of the largest packet that comes from the guest
}

// largest is what a guest hands over in one piece: TCP segments that a real card would cut (GSO), and the headers.
const largest = 64<<10 + 512

// shapingOf sizes the buckets. What goes to the guest waits in a queue of 100 ms and is cut to size there; what comes from it is dropped
// when the bucket is empty, so that bucket has to hold whole pieces of the largest size, or a guest that segments on the card would
// not get one through.
func shapingOf(r units.Rate) shaping {
	rate := r.BytesPerSecond()
	burst := max(rate/100, 16<<10) // 10 ms
	return shaping{
		Rate:        rate,
		ToBurst:     uint32(burst),
		ToQueue:     uint32(burst + max(rate/10, largest)),
		FromBurst:   uint32(max(rate/50, 2*largest)),
		LargestFrom: largest,
	}
}
