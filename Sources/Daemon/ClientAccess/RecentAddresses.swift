// RecentAddresses: the addresses of one family, each with what it uses.
//
// Idle addresses form a list in the order of their last event. If there are too many, the oldest one is forgotten.
// The list is linked by places in an array, so that each operation takes constant time.

struct RecentAddresses {
  private struct Entry {
    var key: UInt64
    var use = AddressUse()
    /// The neighbours in the list of idle entries; `none` at its ends.
    var older = none
    var newer = none
    var isListed = false
  }
  private static let none = -1

  private let idleLimit: Int
  private var entries: [Entry] = []
  private var free: [Int] = []
  private var places: [UInt64: Int] = [:]
  private var oldest = none
  private var newest = none
  private var idle = 0

  init(idleLimit: Int) {
    self.idleLimit = idleLimit
  }

  var count: Int { places.count }

  /// Changes what is known of an address.
  mutating func update<Result>(_ key: UInt64, now: Int, _ change: (inout AddressUse) -> Result) -> Result {
    let place = places[key] ?? insert(key)
    unlist(place)
    let result = change(&entries[place].use)
    if entries[place].use.isBlank(now: now) {
      remove(place)
    } else if !entries[place].use.isActive {
      list(place)
      if idle > idleLimit { remove(oldest) }
    }
    return result
  }

  private mutating func insert(_ key: UInt64) -> Int {
    let place: Int
    if let freed = free.popLast() {
      place = freed
      entries[place] = Entry(key: key)
    } else {
      place = entries.count
      entries.append(Entry(key: key))
    }
    places[key] = place
    return place
  }

  private mutating func remove(_ place: Int) {
    unlist(place)
    places[entries[place].key] = nil
    free.append(place)
  }

  /// Adds an entry as the newest one.
  private mutating func list(_ place: Int) {
    entries[place].older = newest
    entries[place].newer = RecentAddresses.none
    entries[place].isListed = true
    if newest == RecentAddresses.none { oldest = place } else { entries[newest].newer = place }
    newest = place
    idle += 1
  }

  private mutating func unlist(_ place: Int) {
    guard entries[place].isListed else { return }
    let (older, newer) = (entries[place].older, entries[place].newer)
    if older == RecentAddresses.none { oldest = newer } else { entries[older].newer = newer }
    if newer == RecentAddresses.none { newest = older } else { entries[newer].older = older }
    entries[place].isListed = false
    idle -= 1
  }
}
