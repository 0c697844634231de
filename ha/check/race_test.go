//go:build race

package check

// raceDetector: everything takes several times as long, on a machine that is busy besides.
const raceDetector = true
