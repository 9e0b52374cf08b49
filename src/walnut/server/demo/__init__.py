"""What a newcomer sees: a small hotel that books rooms, and a server that shows itself with it.

    hotel.py       the data: rooms, bookings, what its sensors say
    traffic.py     guests and sensors at work, through the API as any client
    telling.py     what goes on, and what to look at, on a screen
    newcomer.py    `make run`: a server of its own, and three lines to paste

What must stay true: everything goes through the API that users have; nothing is made up that the
server did not answer.
"""
