package arbiter

import "fmt"

// LostError says that the number is taken: its asker does not go on alone.
type LostError struct{ Record Record }

func (e *LostError) Error() string {
	return fmt.Sprintf("the number is taken: %v", e.Record)
}

// UnknownError says that nobody knows whether the request was carried out: a timeout, a broken connection, an answer that makes no sense. It is never
// a win; the same request may be asked again.
type UnknownError struct{ Err error }

func (e *UnknownError) Error() string { return "the arbiter's answer is not known: " + e.Err.Error() }

// Unwrap gives what went wrong.
func (e *UnknownError) Unwrap() error { return e.Err }

// Why is the kind of a refusal.
type Why string

// The kinds. Nothing was changed in any of them.
const (
	WhyBadRequest Why = "bad-request"
	WhyNoMember   Why = "no-member"
	WhyNoGroup    Why = "no-group"  // not declared here
	WhyMissing    Why = "missing"   // there is no record
	WhyDamaged    Why = "damaged"   // there is one, but not whole
	WhyBehind     Why = "behind"    // the record is older than what its members know: an old copy
	WhyThere      Why = "there"     // to create what is there already
	WhyElsewhere  Why = "elsewhere" // an arbiter's refusal of a kind that is not known here
)

// RefusedError says that the arbiter does not decide, for safety, and that nothing was changed.
type RefusedError struct {
	Why    Why    `json:"why"`
	Text   string `json:"text"`
	Advice string `json:"hint,omitempty"` // the command that helps; "" where there is none
}

func (e *RefusedError) Error() string { return e.Text }

// Hint is the command that helps.
func (e *RefusedError) Hint() string { return e.Advice }

// Is makes errors.Is compare by kind.
func (e *RefusedError) Is(target error) bool {
	other, ok := target.(*RefusedError)
	return ok && other.Why == e.Why
}

// What errors.Is compares with.
var (
	ErrBadRequest = &RefusedError{Why: WhyBadRequest, Text: "the request is not one of kvmha's"}
	ErrNoMember   = &RefusedError{Why: WhyNoMember, Text: "not a member"}
	ErrNoGroup    = &RefusedError{Why: WhyNoGroup, Text: "no such group here"}
	ErrMissing    = &RefusedError{Why: WhyMissing, Text: "there is no record"}
	ErrDamaged    = &RefusedError{Why: WhyDamaged, Text: "the record is damaged"}
	ErrBehind     = &RefusedError{Why: WhyBehind, Text: "the record is an old copy"}
	ErrThere      = &RefusedError{Why: WhyThere, Text: "there is a record already"}
)

func refused(why Why, advice, text string) *RefusedError { return &RefusedError{why, text, advice} }

// createHint is how a record is made, on the arbiter.
func createHint(group string) string { return "kvmha arbiter create " + group }

// repairHint is how a record is made in the place of a damaged one, which was there and may have said who went on alone.
func repairHint(group string) string {
	return createHint(group) + " --holder <node> --n <n>; if none of them ever went on alone: " + createHint(group) + " --force"
}

// restoreHint is how a lost record is made again: an empty one would let a node win that was not there when the other one went on alone.
func restoreHint(group string) string {
	return createHint(group) + "; if one of them ever went on alone: " + createHint(group) + " --holder <node> --n <n>"
}
