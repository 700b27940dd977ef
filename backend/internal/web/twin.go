package web

import (
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

type twinPage struct {
	ID       string
	ETag     string
	Desired  string // as it is, or as it is to be
	Tags     string
	Reported map[string]any
	Problem  string // what is wrong with Desired or Tags
	Diff     []line // what would change, for review
}

func (w *Web) showTwin(v *visit) error {
	page, _, err := w.twinPage(v)
	if err != nil {
		return err
	}
	return v.show("twin", v.id()+": twin", page)
}

func (w *Web) twinPage(v *visit) (*twinPage, twin.Twin, error) {
	d, err := w.Fleet.Devices.Device(v.Context(), v.id())
	if err != nil {
		return nil, twin.Twin{}, err
	}
	page := &twinPage{ID: d.ID, ETag: d.Twin.ETag(), Reported: orEmpty(d.Twin.Reported.Values)}
	if page.Desired, err = pretty(orEmpty(d.Twin.Desired.Values)); err != nil {
		return nil, twin.Twin{}, err
	}
	page.Tags, err = pretty(orEmpty(d.Twin.Tags))
	return page, d.Twin, err
}

func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}

// reviewTwin shows what would change, or what is wrong.
func (w *Web) reviewTwin(v *visit) error {
	page, before, err := w.twinPage(v)
	if err != nil {
		return err
	}
	was := "tags " + page.Tags + "\ndesired " + page.Desired
	page.Tags, page.Desired = v.PostFormValue("tags"), v.PostFormValue("desired")
	if etag := v.PostFormValue("etag"); etag != page.ETag {
		page.Problem = "Somebody has changed the twin since you began. What you see below is yours; what would change is against the twin of now."
	}
	_, after, err := edited(before, page)
	if err != nil {
		_, page.Problem = fleet.Refusal(err)
		v.status = 422
		return v.show("twin", v.id()+": twin", page)
	}
	tags, err := pretty(orEmpty(after.Tags))
	if err != nil {
		return err
	}
	desired, err := pretty(orEmpty(after.Desired.Values))
	if err != nil {
		return err
	}
	page.Diff = diff(was, "tags "+tags+"\ndesired "+desired)
	return v.show("twin", v.id()+": twin", page)
}

// edited is the patch that makes tags and desired properties what a page has, and what comes of it.
func edited(t twin.Twin, page *twinPage) (fleet.Patch, twin.Twin, error) {
	tags, err := twin.Decode([]byte(page.Tags))
	if err != nil {
		return fleet.Patch{}, t, twin.Malformed.With("Tags: %s", err.(*twin.Error).Message)
	}
	desired, err := twin.Decode([]byte(page.Desired))
	if err != nil {
		return fleet.Patch{}, t, twin.Malformed.With("Desired properties: %s", err.(*twin.Error).Message)
	}
	p := t.Replace(tags, desired)
	after, _, err := t.Apply(p, time.Now())
	return fleet.Patch{Tags: touched(t.Tags, p.Tags), Desired: touched(t.Desired.Values, p.Desired)}, after, err
}

// touched is a patch without what it would leave as it is, nil if that is all.
func touched(now, patch map[string]any) map[string]any {
	changes := map[string]any{}
	for key, value := range patch {
		before, had := now[key]
		inner, isObject := value.(map[string]any)
		outer, wasObject := before.(map[string]any)
		switch {
		case isObject && wasObject:
			if deeper := touched(outer, inner); deeper != nil {
				changes[key] = deeper
			}
		case !had && value == nil, had && same(before, value):
		default:
			changes[key] = value
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return changes
}

func same(a, b any) bool {
	x, err := pretty(a)
	y, err2 := pretty(b)
	return err == nil && err2 == nil && x == y
}

// saveTwin does what was reviewed; not if somebody was faster.
func (w *Web) saveTwin(v *visit) error {
	_, before, err := w.twinPage(v)
	if err != nil {
		return err
	}
	etag := v.PostFormValue("etag")
	if etag != before.ETag() {
		return twin.PreconditionFailed.With("somebody has changed the twin since you reviewed it: review it again")
	}
	p, _, err := edited(before, &twinPage{Tags: v.PostFormValue("tags"), Desired: v.PostFormValue("desired")})
	if err != nil {
		return err
	}
	if p.Tags == nil && p.Desired == nil {
		return v.leave(v.home()+"/twin", "")
	}
	if err := w.Fleet.Patch(v.Context(), v.id(), p, etag); err != nil {
		return err
	}
	return v.leave(v.home()+"/twin", "saved")
}

// A line of a text that has changed.
type line struct {
	Sign string // "+", "-", " ", or "…" for lines that are the same
	Text string
}

// around is how many lines that are the same are shown beside one that changes.
const around = 3

// maxTable bounds what a comparison takes, in lines of one text times those of the other.
const maxTable = 4 << 20

// diff compares two texts line by line (longest common subsequence), and leaves out what is far from any change. Where
// that would take too much, all lines between the first and the last change are gone and new.
func diff(before, after string) []line {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	end := 0
	for end < min(len(a), len(b))-same && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	all := signed(" ", a[:same])
	x, y := a[same:len(a)-end], b[same:len(b)-end]
	if len(x)*len(y) > maxTable {
		all = append(append(all, signed("-", x)...), signed("+", y)...)
	} else {
		all = append(all, compare(x, y)...)
	}
	return near(append(all, signed(" ", a[len(a)-end:])...))
}

func signed(sign string, texts []string) (all []line) {
	for _, text := range texts {
		all = append(all, line{sign, text})
	}
	return all
}

// compare makes b of a by the longest common subsequence.
func compare(a, b []string) (all []line) {
	common := make([][]int32, len(a)+1)
	for i := range common {
		common[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			all = append(all, line{" ", a[i]})
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			all = append(all, line{"-", a[i]})
			i++
		default:
			all = append(all, line{"+", b[j]})
			j++
		}
	}
	return all
}

// near leaves out lines that are far from any change.
func near(all []line) (shown []line) {
	keep := map[int]bool{}
	for i, l := range all {
		for j := i - around; l.Sign != " " && j <= i+around; j++ {
			keep[j] = true
		}
	}
	if len(keep) == 0 {
		return []line{}
	}
	for i, l := range all {
		switch {
		case keep[i]:
			shown = append(shown, l)
		case len(shown) == 0 || shown[len(shown)-1].Sign != "…":
			shown = append(shown, line{"…", ""})
		}
	}
	return shown
}
