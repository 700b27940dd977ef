package pack

import "fmt"

// Chain returns the shortest list of transforms that leads from one state
// schema to another, up or down; of equally short ones, the one listed first.
// It is empty if the schemas are equal, and an error if there is no way.
func Chain(transforms []Transform, from, to int) ([]Transform, error) {
	if from == to {
		return nil, nil
	}
	reached := map[int]int{} // schema → index of the edge that led there
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		for i, t := range transforms {
			if _, seen := reached[t.To]; t.From != queue[0] || seen || t.To == from {
				continue
			}
			reached[t.To] = i
			if t.To == to {
				return trace(transforms, reached, from, to), nil
			}
			queue = append(queue, t.To)
		}
	}
	return nil, fmt.Errorf("the package has no chain of transforms from state schema %d to %d", from, to)
}

// trace follows the edges in reached back from to, and returns them forward.
func trace(transforms []Transform, reached map[int]int, from, to int) []Transform {
	if from == to {
		return nil
	}
	last := transforms[reached[to]]
	return append(trace(transforms, reached, from, last.From), last)
}
