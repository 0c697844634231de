// Package netbridge makes the bridges and TAPs that guests hang on: what is there and what is wanted go in, steps come out, and netlink carries them out.
package netbridge
