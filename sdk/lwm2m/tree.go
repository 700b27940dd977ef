package lwm2m

import "slices"

// tree holds values by their paths.
type tree map[Path]Record

func newTree(records []Record) tree {
	t := make(tree, len(records))
	for _, r := range records {
		t[r.Path] = r
	}
	return t
}

// under gives the values under p in order.
func (t tree) under(p Path) []Record {
	var list []Record
	for q, r := range t {
		if p.Contains(q) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Record) int { return a.Path.Compare(b.Path) })
	return list
}

// instances lists the instances of an object in order.
func (t tree) instances(object uint16) []Path {
	var list []Path
	for _, r := range t.under(NewPath(object)) {
		list = append(list, r.Path.Prefix(DepthInstance))
	}
	return slices.Compact(list)
}

func (t tree) put(records []Record) {
	for _, r := range records {
		t[r.Path] = r
	}
}

func (t tree) remove(p Path) {
	for q := range t {
		if p.Contains(q) {
			delete(t, q)
		}
	}
}
