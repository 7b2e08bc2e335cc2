"""plot: curves over the number of connections, as an SVG that needs nothing else."""
import math

COLOURS = ["#1f77b4", "#1a3f8f", "#17becf", "#2ca02c", "#98df8a", "#9467bd", "#ff7f0e", "#d62728", "#8c564b", "#7f7f7f", "#bcbd22", "#e377c2"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1080, 420, 70, 210, 40, 50


def steps(least: float, most: float) -> list[float]:
    """The values of a logarithmic axis that get a line: 1, 2 and 5 times a power of ten."""
    found = [digit * 10 ** power for power in range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1) for digit in (1, 2, 5)]
    return [value for value in found if least <= value <= most]


def svg(panels: dict[str, dict[str, dict[int, float]]]) -> str:
    """For each title its curves: by name, the rate for each number of connections. Both axes are logarithmic."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    width = (WIDTH - RIGHT) / max(1, len(panels)) - LEFT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for number, (title, curves) in enumerate(panels.items()):
        rates = [rate for curve in curves.values() for rate in curve.values() if rate > 0]
        counts = sorted({count for curve in curves.values() for count in curve})
        if not rates:
            continue
        least, most = min(rates) / 1.3, max(rates) * 1.3
        left = LEFT + number * (width + LEFT)
        bottom = HEIGHT - BOTTOM

        def x(count: int) -> float:
            span = math.log(counts[-1] / counts[0]) or 1
            return left + math.log(count / counts[0]) / span * (width - 10)

        def y(rate: float) -> float:
            return bottom - math.log(rate / least) / math.log(most / least) * (bottom - TOP)

        parts.append(f'<text x="{left:.0f}" y="22" font-size="14">{title}</text>')
        parts.append(f'<text x="{left + width / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle">connections at a time</text>')
        for count in counts:
            parts.append(f'<line x1="{x(count):.1f}" y1="{TOP}" x2="{x(count):.1f}" y2="{bottom}" stroke="#ddd"/>'
                         f'<text x="{x(count):.1f}" y="{bottom + 18}" text-anchor="middle">{count:,}</text>')
        for rate in steps(least, most):
            parts.append(f'<line x1="{left:.0f}" y1="{y(rate):.1f}" x2="{left + width - 10:.0f}" y2="{y(rate):.1f}" stroke="#eee"/>'
                         f'<text x="{left - 8:.0f}" y="{y(rate) + 4:.1f}" text-anchor="end">{rate:,.0f}</text>')
        for name, curve in curves.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            dashes = ' stroke-dasharray="6 4"' if name.endswith("alone") else ""
            points = [(x(count), y(rate)) for count, rate in sorted(curve.items()) if rate > 0]
            path = " ".join(f"{one:.1f},{other:.1f}" for one, other in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
            parts += [f'<circle cx="{one:.1f}" cy="{other:.1f}" r="3" fill="{colour}"/>' for one, other in points]
    for number, name in enumerate(names):
        line = TOP + 20 * number
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<line x1="{WIDTH - RIGHT + 10}" y1="{line}" x2="{WIDTH - RIGHT + 34}" y2="{line}" stroke="{colour}" stroke-width="3"/>'
                     f'<text x="{WIDTH - RIGHT + 40}" y="{line + 4}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
