// Package salvage stores what the loser of a split brain had on its disks, before a resync overwrites it: whole images, with holes where a disk has zeros, and
// a note beside them. An image that has no note is unfinished.
package salvage
